"""Answers against implementations by others: scipy, and the bootstrap by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.metrics import f1_score, roc_auc_score

from study.analysis.power import VarianceComponents, power
from study.analysis.statistics.contrast import bonett_price, mcnemar_mid_p
from study.analysis.statistics.influence import Influence, influence
from study.analysis.statistics.intervals import value_interval
from study.analysis.statistics.selection import corrected_value
from study.analysis.statistics.simultaneous import normal_draws
from study.analysis.verdict import Comparison, against_baseline, compare_runs


def _once(scores: np.ndarray, labels: np.ndarray, metric: str) -> Comparison:
    each = np.arange(len(scores))
    return compare_runs(metric, influence(metric, scores, labels), each, np.zeros_like(each))


def _binary(seed: int, runs: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(images) < 0.4).astype(np.int64)
    shared = 0.8 * rng.standard_normal(images)
    return 1 / (1 + np.exp(-(1.8 * (labels - 0.4) + shared + 0.7 * rng.standard_normal((runs, images))))), labels


@pytest.mark.parametrize("metric", ["auc", "f1"])
def test_intervals_of_differences_are_those_of_scipys_bootstrap(metric: str) -> None:
    scores, labels = _binary(1, 2, 500)
    value = roc_auc_score if metric == "auc" else lambda labels, row: f1_score(labels, row > 0.5)
    bootstrap = stats.bootstrap(
        (np.arange(500),), lambda at: value(labels[at], scores[0, at]) - value(labels[at], scores[1, at]),
        vectorized=False, n_resamples=800, method="percentile", rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    (ours,) = _once(scores, labels, metric).to_others(0, [1])
    assert ours.high - ours.low == pytest.approx(bootstrap.high - bootstrap.low, rel=0.12)
    assert ours.low == pytest.approx(bootstrap.low, abs=0.1 * (bootstrap.high - bootstrap.low))


def test_p_values_of_losses_are_those_of_scipys_permutation_test() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2
    good = np.where(labels == 1, 0.7, 0.3) + 0.15 * rng.standard_normal(400)
    scores = np.clip(np.stack([good, good - 0.006 * (2 * labels - 1) + 0.06 * rng.standard_normal(400)]), 0.02, 0.98)
    losses = -np.log(np.where(labels == 1, scores, 1 - scores))
    expected = stats.permutation_test(
        (losses[0], losses[1]), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=4000, rng=np.random.default_rng(4),
    ).pvalue  # fmt: skip
    (ours,) = _once(scores, labels, "loss").to_others(0, [1])
    assert 0.001 < expected < 0.3
    assert ours.p == pytest.approx(expected, rel=0.25, abs=0.01)


def test_mid_p_and_bonett_price_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    draws = rng.multinomial(60, [0.6, 0.15, 0.15, 0.1], size=2000)
    wrong, covered = 0, 0
    for _, up, down, _ in draws:
        first = np.array([True] * up + [False] * down + [True] * (60 - up - down))
        second = np.array([False] * up + [True] * down + [True] * (60 - up - down))
        wrong += mcnemar_mid_p(first, second) < 0.05
        low, high = bonett_price(first, second)
        covered += low <= 0 <= high
    assert 0.02 < wrong / 2000 < 0.06
    assert 0.94 < covered / 2000 < 0.985


@pytest.mark.parametrize("value", [0.8, 0.97, 0.9995])
def test_a_single_auc_has_the_wider_of_the_logit_and_newcombes_interval(value: float) -> None:
    positives, negatives, error = 40, 60, 0.05 * math.sqrt(value * (1 - value))

    def newcombe(auc: float) -> float:
        more = (positives + negatives) / 2 - 1
        spread = auc * (1 - auc) * (1 + more * (1 - auc) / (2 - auc) + more * auc / (1 + auc))
        return abs(value - auc) - 1.959964 * math.sqrt(spread / (positives * negatives))

    score = optimize.brentq(newcombe, 0.3, value - 1e-9), optimize.brentq(newcombe, value + 1e-9, 1 - 1e-12)
    z = np.log(value / (1 - value)) + np.array([-1, 1]) * 1.959964 * error / (value * (1 - value))
    logit = 1 / (1 + np.exp(-z))
    interval = value_interval(value, value, 1.959964 * error, error, 40, ((positives, negatives),))
    assert interval == pytest.approx((min(score[0], logit[0]), max(score[1], logit[1])), abs=1e-5)


@pytest.mark.parametrize(("seeds", "difference"), [(3, 0.03), (5, 0.02), (10, 0.01)])
def test_power_without_image_noise_is_that_of_the_noncentral_t(seeds: int, difference: float) -> None:
    parts = VarianceComponents(images=1e-12, own_images=1e-12, seeds=2 * 0.01**2)
    df, bound = seeds - 1, stats.t.ppf(0.975, seeds - 1)
    noncentrality = difference / math.sqrt(parts.seeds / seeds)
    expected = stats.nct.sf(bound, df, noncentrality) + stats.nct.cdf(-bound, df, noncentrality)
    assert power(parts, difference, seeds, 1_000_000) == pytest.approx(expected, abs=0.02)


def test_rows_against_a_baseline_are_scipys_dunnett_where_runs_are_independent() -> None:
    # Seeds of its own for each and endless images are independent samples, for which Dunnett is exact.
    rng = np.random.default_rng(6)
    values = 0.5 + 0.01 * rng.standard_normal((4, 12))
    values[2] += 0.012
    units = 1e-7 * rng.standard_normal((48, 60))
    measured = Influence(values.ravel(), units, np.full(48, 1e9))
    comparison = compare_runs("auc", measured, np.repeat(np.arange(4), 12), np.arange(48))
    rows = against_baseline(comparison, 0)
    expected = stats.dunnett(*values[1:], control=values[0], rng=np.random.default_rng(7)).confidence_interval(0.95)
    assert [row.low for row in rows[1:]] == pytest.approx(list(expected.low), abs=0.0015)
    assert [row.high for row in rows[1:]] == pytest.approx(list(expected.high), abs=0.0015)


def test_the_winners_corrected_value_is_that_of_the_bootstrap() -> None:
    # Bootstrap bias corrected: the images drawn pick, those left out tell the value; Tsamardinos et al. 2018.
    corrected, expected = [], []
    for study in range(25):
        rng = np.random.default_rng([8, study])
        labels = np.arange(200) % 2
        right = (rng.random((12, 200)) < 0.8).astype(np.int64)
        comparison = _once(np.where(right == 1, labels, 1 - labels).astype(float), labels, "accuracy")
        value, _ = corrected_value(comparison.plain_model, normal_draws(1000, 24)[:, :12])
        corrected.append(value)
        left_out = []
        for _ in range(200):
            at = rng.integers(0, 200, 200)
            picked = right[:, at].mean(axis=1).argmax()
            left_out.append(right[picked, np.setdiff1d(np.arange(200), at)].mean())
        expected.append(np.mean(left_out))
    raw_excess = 0.8 + 1.6 * math.sqrt(0.16 / 200)  # what the best of twelve is measured at
    assert np.mean(corrected) == pytest.approx(np.mean(expected), abs=0.008)
    assert abs(np.mean(corrected) - 0.8) < 0.3 * (raw_excess - 0.8)
