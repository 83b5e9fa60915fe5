"""Seeds that spread unevenly near the best value there can be, and the variance between seeds by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from study.analysis.statistics.contrast import contrasts
from study.analysis.statistics.influence import Influence
from study.analysis.statistics.log_odds import log_odds_model, log_odds_p_values
from study.analysis.statistics.variance_components import Runs, seed_main_effect, seed_spread
from study.analysis.verdict import Comparison, compare_runs

TRIALS = 1e5


def _compare(values: np.ndarray, metric: str = "auc") -> Comparison:
    """Compare values [configurations, seeds] that images hardly blur."""
    configurations, seeds = values.shape
    units = 1e-6 * np.random.default_rng(0).standard_normal((values.size, 50))
    measured = Influence(values.ravel(), units, np.full(values.size, TRIALS))
    return compare_runs(
        metric, measured, np.repeat(np.arange(configurations), seeds), np.tile(np.arange(seeds), configurations)
    )


def _skewed(rng: np.random.Generator, configurations: int, seeds: int) -> np.ndarray:
    """Return values with a mean of 0.9, of which the first configuration's spread widely."""
    wide, narrow = 0.7 * rng.standard_normal((1, seeds)), 0.1 * rng.standard_normal((configurations - 1, seeds))
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    at = 2.2
    for _ in range(30):
        at += (0.9 - weights @ expit(at + 0.7 * nodes) / weights.sum()) / 0.09
    return np.concatenate([expit(at + wide), expit(math.log(9) + narrow)])


def test_a_skewed_spread_is_no_lead_though_students_test_sees_one() -> None:
    studies, seen, students = 600, 0, 0
    for study in range(studies):
        values = _skewed(np.random.default_rng([1, study]), 2, 5)
        comparison = _compare(values)
        seen += comparison.to_others(comparison.order[0], comparison.order[1:])[0].is_certain
        students += stats.ttest_rel(*values).pvalue < 0.05
    assert students / studies > 0.065
    assert seen / studies <= 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / studies)
    assert seen < students


def test_far_from_0_and_1_both_scales_tell_the_same() -> None:
    values = 0.5 + 0.01 * np.random.default_rng(2).standard_normal((4, 3))
    values[0] += 0.02
    comparison = _compare(values)
    first, others = comparison.order[0], np.asarray(comparison.order[1:])
    plain = contrasts(comparison.model, first, others)
    model = log_odds_model(comparison.runs, comparison.order, comparison.measured.trials)
    p = log_odds_p_values(model, first, others, np.array([each.value for each in plain]))
    np.testing.assert_allclose(p, [each.p for each in plain], rtol=0.02)


def test_the_interval_tells_the_same_as_the_p_value() -> None:
    disagreed = 0
    for study in range(200):
        comparison = _compare(_skewed(np.random.default_rng([3, study]), 3, 3))
        first, others = comparison.order[0], comparison.order[1:]
        plain = contrasts(comparison.model, first, np.asarray(others))
        for each, raw in zip(comparison.to_others(first, others), plain, strict=True):
            assert each.p >= raw.p
            assert each.low <= raw.low
            assert each.p < 0.05 or each.low <= 0 <= each.high
            disagreed += each.is_certain != raw.is_certain
    assert disagreed > 0


def test_losses_and_perfect_values_are_compared_too() -> None:
    perfect = _compare(np.array([[1.0, 1.0, 1.0], [0.9, 0.8, 0.95]]))
    (contrast,) = perfect.to_others(0, [1])
    assert 0 < contrast.p <= 1
    assert math.isfinite(contrast.high)
    losses = np.array([0.3, 0.31, 0.29, 1.2, 1.4, 1.3])
    measured = Influence(losses, 1e-6 * np.random.default_rng(0).standard_normal((6, 50)), np.full(6, math.inf))
    found_loss = compare_runs("loss", measured, np.repeat([0, 1], 3), np.tile([0, 1, 2], 2))
    assert found_loss.to_others(0, [1])[0].is_certain


@pytest.mark.parametrize("balanced", [True, False])
def test_variances_between_seeds_are_those_of_least_squares(balanced: bool) -> None:
    rng = np.random.default_rng(4)
    configuration, seed = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    if not balanced:
        configuration, seed = configuration[:-1], seed[:-1]
    shuffled = rng.permutation(len(seed))
    configuration, seed = configuration[shuffled], seed[shuffled]
    units = rng.standard_normal((len(seed), 40)) * 0.01
    runs = Runs(rng.standard_normal(len(seed)), units, configuration, seed)
    columns = [configuration == k for k in range(4)] + ([seed == s for s in range(3)] if balanced else [])
    design = np.column_stack(columns).astype(float)
    residual = np.eye(len(seed)) - design @ np.linalg.pinv(design)
    df = round(float(np.trace(residual)))
    spread = seed_spread(runs, [0, 1, 2, 3], "none")
    assert spread.df.tolist() == [df] * 4
    np.testing.assert_allclose(spread.total, runs.values @ residual @ runs.values / df)
    np.testing.assert_allclose(spread.images, np.sum(residual * (units @ units.T)) / df)
    if balanced:
        means = np.array([runs.values[seed == s].mean() for s in range(3)])
        assert seed_main_effect(runs, [0, 1, 2, 3])[0] == pytest.approx(means.var(ddof=1))
