"""The verdict without predictions: what counts of images and values per seed can say, and what they cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from ranking_kit import table
from scipy import stats

from study.analysis.ranking import rank_configurations
from study.analysis.verdict import Judgement, against_baseline, judge
from study.analysis.verdict_by_values import (
    Basis,
    auc_standard_error,
    compare_values,
    mean_difference,
    p_whatever_the_pairing,
    proportion_standard_error,
    standard_error,
)
from study.analysis.verdict_words import words_by_values
from study.config.search_config import Mode, Objective

FEW, MANY = (250, 150), (10**7, 10**7)


def _judge(
    values: Sequence[Sequence[float]], metric: str = "val_auc", counts: tuple[int, ...] = (), mode: Mode = "max"
) -> tuple[Judgement, Basis, str]:
    """Judge values [configurations][seeds]; return the answer, what it rests on, and its words."""
    comparison, basis = compare_values(
        np.array([value for row in values for value in row]),
        np.array([k for k, row in enumerate(values) for _ in row]),
        np.array([seed for row in values for seed in range(len(row))]),
        metric, mode, counts,
    )  # fmt: skip
    judgement = judge(comparison, draws=500)
    names = [f"trial {k}" for k in range(len(values))]
    images = f"{sum(counts)} validation images"
    return judgement, basis, words_by_values(comparison, judgement, names, basis, images)


def test_auc_standard_error_is_what_resampling_gives() -> None:
    rng = np.random.default_rng(0)
    aucs = []
    for _ in range(400):
        positive, negative = rng.normal(1.5, 1, 60), rng.normal(0, 1, 90)
        aucs.append((positive[:, None] > negative).mean())
    assert auc_standard_error(float(np.mean(aucs)), 60, 90) == pytest.approx(np.std(aucs), rel=0.15)


def test_auc_standard_error_of_the_papers_example() -> None:
    assert auc_standard_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.001)


def test_perfect_values_on_few_images_are_not_certain() -> None:
    assert auc_standard_error(1.0, 20, 20) > 0.01
    assert auc_standard_error(0.0, 20, 20) == pytest.approx(auc_standard_error(1.0, 20, 20))
    assert proportion_standard_error(1.0, 20) > 0.05


@pytest.mark.parametrize(
    ("metric", "counts", "is_known"),
    [("val_auc", FEW, True), ("val_accuracy", FEW, True), ("val_accuracy", (5, 6, 7), True),
     ("val_auc", (5, 6, 7), False),
     ("val_f1", FEW, False), ("shifted.dark.auc", FEW, True), ("latency_ms", FEW, False), ("val_auc", (), False),
     ("val_auc", (4, 0), False)],
)  # fmt: skip
def test_only_auc_and_accuracy_have_an_error_by_counts(metric: str, counts: tuple[int, ...], is_known: bool) -> None:
    assert (standard_error(metric, 0.9, counts) is not None) == is_known


@pytest.mark.parametrize(("right", "images"), [((20, 17), 21), ((6, 4), 6), ((21, 18), 21), ((3245, 3243), 3245)])
def test_few_right_answers_more_are_undecided(right: tuple[int, int], images: int) -> None:
    values = [[count / images] for count in right]
    judgement, basis, words = _judge(values, "val_accuracy", (images // 2, images - images // 2))
    assert (judgement.verdict, judgement.about, basis) == ("undecided", "checkpoints", "counts")
    assert words.startswith("which checkpoint: undecided: 2 of 2 may be the best; trial 0 leads the next by 0.")
    assert words.endswith("which configuration: unknown, each ran once")


def test_the_p_value_whatever_the_pairing_is_that_of_the_extreme_pairings() -> None:
    def mid_p(fewer: int, more: int) -> float:
        exact = float(stats.binomtest(fewer, fewer + more, 0.5).pvalue)
        return exact - float(stats.binom.pmf(fewer, fewer + more, 0.5))

    low, high = p_whatever_the_pairing(20 / 21, 17 / 21, 21)
    assert low == pytest.approx(mid_p(0, 3)) == pytest.approx(0.125)
    assert high == pytest.approx(mid_p(1, 4))  # one wrong of the better one at most
    assert p_whatever_the_pairing(6 / 6, 4 / 6, 6) == (pytest.approx(0.25), pytest.approx(0.25))
    assert p_whatever_the_pairing(0.5, 0.5, 10)[1] == 1.0


@pytest.mark.parametrize("metric", ["val_auc", "val_accuracy", "val_f1", "latency_ms", "val_ece"])
@pytest.mark.parametrize("counts", [(), FEW, MANY])
def test_one_seed_never_gives_a_yes(metric: str, counts: tuple[int, ...]) -> None:
    _, _, words = _judge([[0.99], [0.6], [0.55]], metric, counts)
    assert "yes" not in words
    assert "unknown, each ran once" in words
    if metric in ("val_auc", "val_accuracy") and counts == MANY:
        assert words.startswith("which checkpoint: not known without predictions: trial 0 leads the next by 0.39")


@pytest.mark.parametrize("counts", [(), FEW, MANY])
@pytest.mark.parametrize("metric", ["val_auc", "val_f1", "latency_ms"])
def test_seeds_that_do_not_differ_give_no_claim(metric: str, counts: tuple[int, ...]) -> None:
    judgement, _, words = _judge([[0.925, 0.925, 0.925], [0.9, 0.9, 0.9]], metric, counts)
    assert judgement.verdict == "undecided"
    assert "yes" not in words
    assert "+-" not in words
    shifted, _, words = _judge([[0.5 + 0.1 * s + 0.025 for s in range(3)], [0.5 + 0.1 * s for s in range(3)]], metric)
    assert shifted.verdict == "undecided"
    assert words == "not known: +0.025 over the next in seeds that do not differ; their spread is not known"


def test_a_lead_of_seeds_holds_with_many_images_and_is_not_known_without_their_number() -> None:
    values = [[0.921, 0.919, 0.922], [0.90, 0.901, 0.898], [0.88, 0.882, 0.881]]
    judgement, basis, words = _judge(values, "val_auc", MANY)
    assert (judgement.verdict, basis) == ("yes", "counts")
    assert words.startswith("yes: +0.021 +-0.0")
    assert words.endswith("images, by their number); beats each of 2")
    _, basis, words = _judge(values, "val_auc", (60, 60))
    assert words == "undecided: 3 of 3 may be the best by seeds and the number of validation images"
    _, basis, words = _judge(values)
    assert basis == "values"
    assert words.startswith("not known: +0.021 +-0.0")
    assert words.endswith("over the next by seeds alone; images: unknown")
    _, basis, words = _judge(values, "latency_ms", mode="max")
    assert (basis, words[:6], "images" in words) == ("measurements", "yes: +", False)


def test_less_is_better_gives_a_lead_below_zero_in_the_unit_of_the_metric() -> None:
    judgement, _, _ = _judge([[0.3, 0.31, 0.29], [0.2, 0.21, 0.2]], "val_loss", mode="min")
    assert judgement.leader == 1
    assert judgement.differences[0].value == pytest.approx(-0.0967, abs=1e-3)


@pytest.mark.parametrize("size", [2, 5])
def test_equal_configurations_are_seldom_called_different(size: int) -> None:
    rng = np.random.default_rng(size)
    wrong = 0
    for _ in range(200):
        values = 0.9 + rng.standard_normal(3) * 0.02 + 0.01 * rng.standard_normal((size, 3))
        wrong += _judge(values.tolist(), "latency_ms")[0].verdict == "yes"
    assert wrong <= 200 * 0.05 + 2 * math.sqrt(200 * 0.05)


def test_rows_against_a_baseline_hold_together() -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(200):
        values = 0.9 + 0.02 * rng.standard_normal(3) + 0.01 * rng.standard_normal((8, 3))
        comparison, _ = compare_values(
            values.reshape(-1), np.repeat(np.arange(8), 3), np.tile(np.arange(3), 8), "val_auc", "max"
        )
        rows = against_baseline(comparison, 0, draws=500)
        missed += any(row.low > 0 or row.high < 0 for row in rows)
    assert missed <= 200 * 0.05 + 2 * math.sqrt(200 * 0.05)


def test_a_difference_to_the_baseline_is_taken_over_shared_seeds() -> None:
    first, second = rank_configurations(
        table([0.9, 0.8, 0.7], [0.6, 0.7]), [Objective(metric="val_auc", mode="max")], 3
    )
    assert mean_difference(first, second) == pytest.approx(-0.2)
    assert mean_difference(second, first) == pytest.approx(0.2)
