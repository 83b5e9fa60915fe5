"""The recommended run: the leader, or a cheaper one that surely gives away next to nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtri

from study.analysis.predictions import Predictions
from study.analysis.recommendation import Candidate, Cost, costs_of, recommend
from study.analysis.verdict import judge


def _candidate(key: int, gives_away: float, parameters: float, latency: float = 5.0, shifted: float = 0.3) -> Candidate:
    return Candidate(key, gives_away, {"parameters": parameters, "latency": latency, "shifted": shifted})


def test_a_cheaper_one_is_recommended_only_if_it_surely_gives_away_little() -> None:
    leader = _candidate(0, 0.0, 23e6)
    assert recommend([leader]).chosen is leader
    close, far = _candidate(1, 0.0019, 11e6), _candidate(2, 0.0021, 5e6)
    assert recommend([leader, far]).chosen is leader
    advice = recommend([leader, close, far])
    assert (advice.chosen, advice.by) == (close, "parameters")
    assert recommend([leader, close, far], give_away=0.01).chosen is far
    assert recommend([leader, close, far], give_away=0.0).chosen is leader
    assert recommend([leader, Candidate(3, math.inf, {"parameters": 1.0})]).chosen is leader
    assert recommend([leader, _candidate(4, 0.001, 30e6)]).by is None


@pytest.mark.parametrize(("prefer", "chosen"), [("parameters", 1), ("latency", 2), ("shifted", 3)])
def test_what_is_preferred_counts_first(prefer: Cost, chosen: int) -> None:
    candidates = [
        _candidate(0, 0.0, 9e6, 9.0, 0.9), _candidate(1, 0.001, 1e6, 8.0, 0.8), _candidate(2, 0.001, 8e6, 1.0, 0.8),
        _candidate(3, 0.001, 8e6, 8.0, 0.1),
    ]  # fmt: skip
    advice = recommend(candidates, prefer)
    assert (advice.chosen.key, advice.by) == (chosen, prefer)


def test_equal_costs_are_decided_by_the_next_and_latencies_that_are_close_are_equal() -> None:
    leader = _candidate(0, 0.0, 9e6, 5.0, 0.3)
    advice = recommend([leader, _candidate(1, 0.001, 9e6, 2.0)])
    assert (advice.chosen.key, advice.by) == (1, "latency")
    assert recommend([leader, _candidate(1, 0.001, 9e6, 4.99)]).chosen is leader
    assert recommend([leader, _candidate(1, 0.001, 9e6, 4.99, 0.2)]).by == "shifted"
    assert recommend([leader, Candidate(1, 0.001, {"parameters": 9e6})]).chosen is leader
    first = recommend([leader, _candidate(1, 0.001, 1e6), _candidate(2, 0.0015, 1e6)]).chosen
    assert first.key == 1, "of equally cheap ones the better"


def test_costs_are_means_over_runs_and_sets() -> None:
    runs = [
        {
            "parameters": 5.0,
            "latency_ms": 2.0,
            "shifted.dark.loss": 0.2,
            "shifted.far.loss": 0.4,
            "shifted.far.auc": 1.0,
        },
        {
            "parameters": 5.0,
            "latency_ms": 4.0,
            "shifted.dark.loss": 0.4,
            "shifted.far.loss": 0.6,
            "shifted.far.auc": 1.0,
        },
    ]
    assert costs_of(runs) == {"parameters": 5.0, "latency": 3.0, "shifted": pytest.approx(0.4)}
    assert costs_of([{"latency_ms": 2.0}, {}]) == {}
    assert costs_of([{"val_auc": 0.5}]) == {}


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("gap", [0.0, 0.002, 0.004])
def test_what_is_recommended_gives_away_little_in_95_percent_of_studies(size: int, seeds: int, gap: float) -> None:
    """All but the first are cheaper, and in truth worse than it by the gap in accuracy."""
    rng = np.random.default_rng(10 * size + seeds)
    images, studies, wrong, cheaper = 30_000 if seeds == 1 else 6000, 100 if size == 2 else 40, 0, 0
    labels = np.arange(images) % 2
    for _ in range(studies):
        truth = 0.98 - np.where(np.arange(size) > 0, gap, 0.0)
        spread = 0.0005 * rng.standard_normal((size, seeds)) * (seeds > 1)
        hardness = rng.standard_normal(images)
        noise = 0.95**0.5 * hardness + 0.05**0.5 * rng.standard_normal((size, seeds, images))
        right = noise < ndtri(truth[:, None] + spread)[..., None]
        scores = np.where(right == (labels == 1), 0.9, 0.1).reshape(size * seeds, images)
        run = np.arange(size * seeds)
        comparison, _ = Predictions(
            scores, labels, run // seeds, run % seeds, tuple(range(size)), ("a", "b")
        ).comparison("accuracy")
        judgement = judge(comparison, draws=500)
        candidates = [Candidate(judgement.leader, 0.0, {"parameters": float(judgement.leader == 0)})]
        candidates += [
            Candidate(k, each.high, {"parameters": float(k == 0) - 0.01 * k})
            for k, each in zip(judgement.others, judgement.differences, strict=True)
        ]
        chosen = recommend(candidates).chosen.key
        wrong += truth[judgement.leader] - truth[chosen] > 0.002 + 1e-9
        cheaper += chosen != judgement.leader
    assert wrong <= 0.05 * studies + 2 * (0.05 * 0.95 * studies) ** 0.5  # 95 % and two standard errors
    if gap == 0.0 and size == 2 and seeds == 1:
        assert cheaper > 0, "nothing is ever recommended"
