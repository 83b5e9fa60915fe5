"""Comparisons of two means, and intervals of single values, against SciPy and published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.analysis.statistics.contrast import (
    ErrorModel,
    bonett_price,
    contrasts,
    half_widths,
    mcnemar_mid_p,
    p_values,
)
from study.analysis.statistics.intervals import fraction_interval, value_interval
from study.analysis.statistics.variance_components import Runs, SeedSpread, seed_spread


def _model(values: np.ndarray, units: np.ndarray | None = None) -> ErrorModel:
    """Make the error model of values [configurations, seeds]; without units no image blurs them."""
    configurations, seeds = values.shape
    runs = Runs(
        values.ravel(),
        np.full((values.size, 30), 1e-9) * np.arange(30) if units is None else units,
        np.repeat(np.arange(configurations), seeds),
        np.tile(np.arange(seeds), configurations),
    )
    order = np.argsort(-runs.means).tolist()
    return ErrorModel(runs, seed_spread(runs, order) if seeds > 1 else None, 1 / 30)


def test_two_configurations_on_endless_images_are_students_paired_test() -> None:
    values = np.array([[0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.92]])
    units = np.random.default_rng(0).standard_normal((8, 30)) * 1e-9
    (contrast,) = contrasts(_model(values, units), 0, np.array([1]))
    expected = stats.ttest_rel(values[0], values[1])
    interval = expected.confidence_interval()
    assert contrast.p == pytest.approx(expected.pvalue, rel=2e-3)
    assert (contrast.low, contrast.high) == pytest.approx((interval.low, interval.high), rel=5e-3)
    assert contrast.se_image < 1e-6 < contrast.se_seed


@pytest.mark.parametrize("df", [1, 2, 5, 30])
def test_half_widths_integrate_the_chi_square_to_students_t(df: int) -> None:
    scale = df / stats.chi2.ppf((np.arange(4096) + 0.5) / 4096, df)
    assert half_widths(scale[:, None])[0] == pytest.approx(stats.t.ppf(0.975, df), rel=0.01)
    assert p_values(np.array([2.5]), scale[:, None])[0] == pytest.approx(2 * stats.t.sf(2.5, df), rel=0.01)


def test_seeds_and_images_add_up() -> None:
    rng = np.random.default_rng(1)
    shared, own, seeds = 0.004, 0.002, 0.01
    spread = []
    for _ in range(400):
        images = rng.standard_normal((2, 1, 200)) * shared + rng.standard_normal((2, 3, 200)) * own
        values = images.sum(axis=2) + seeds * rng.standard_normal((2, 3))
        runs = Runs(values.ravel(), images.reshape(6, 200), np.repeat([0, 1], 3), np.tile([0, 1, 2], 2))
        each = seed_spread(runs, [0, 1])
        spread.append((each.total[0], each.images[0]))
    total, by_images = np.mean(spread, axis=0)
    assert by_images == pytest.approx(200 * own**2, rel=0.05)
    assert total - by_images == pytest.approx(seeds**2, rel=0.1)


def test_a_configuration_that_scatters_keeps_its_own_spread() -> None:
    rng = np.random.default_rng(2)
    values = 0.9 + 0.001 * rng.standard_normal((6, 5))
    values[2] += 0.03 * rng.standard_normal(5)
    spread = _model(values).spread
    assert isinstance(spread, SeedSpread)
    assert spread.scatters.tolist() == [False, False, True, False, False, False]
    assert spread.total[2] > 50 * spread.total[0]
    assert spread.df.tolist() == [16, 16, 4, 16, 16, 16]


def test_configurations_with_other_seeds_are_not_paired() -> None:
    rng = np.random.default_rng(3)
    configuration, seed = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 2, 0, 1, 0, 1, 2])
    seed_effect = np.array([-0.1, 0.0, 0.1])[seed]
    runs = Runs(0.9 + seed_effect, rng.standard_normal((8, 40)) * 1e-4, configuration, seed)
    spread = seed_spread(runs, [0, 1, 2])
    assert not runs.is_balanced
    assert spread.total[0] > 0.004  # the seeds' common effect stays in
    paired = Runs(runs.values[seed < 2], runs.units[seed < 2], configuration[seed < 2], seed[seed < 2])
    assert seed_spread(paired, [0, 1, 2]).total[0] < 1e-6


def test_no_variance_is_no_claim_and_has_a_width() -> None:
    runs = Runs(np.array([1.0, 0.5]), np.zeros((2, 30)), np.array([0, 1]), np.array([0, 0]))
    (contrast,) = contrasts(ErrorModel(runs, None, 1 / 30), 0, np.array([1]))
    assert contrast.p == 1
    assert contrast.high - contrast.low > 0.15
    assert not contrast.is_certain


def test_too_few_deciding_images_are_no_claim() -> None:
    for deciding, certain in ((4, False), (5, False), (8, True)):
        units = np.zeros((2, 1000))
        units[0, :deciding] = 1 / 1000
        runs = Runs(np.array([deciding / 1000, 0.0]), units, np.array([0, 1]), np.array([0, 0]))
        (contrast,) = contrasts(ErrorModel(runs, None, 1 / 1000), 0, np.array([1]))
        assert contrast.is_certain == certain, deciding


@pytest.mark.parametrize(("wins", "losses"), [(3, 0), (2, 0), (5, 1), (9, 2), (4, 4), (0, 0), (0, 6)])
def test_mid_p_is_the_exact_p_less_half_the_observed(wins: int, losses: int) -> None:
    first = np.array([True] * wins + [False] * losses + [True] * 10)
    second = np.array([False] * wins + [True] * losses + [True] * 10)
    n = wins + losses
    expected = 1.0
    if wins != losses:
        at = stats.binom.pmf(min(wins, losses), n, 0.5)
        expected = stats.binomtest(wins, n, 0.5).pvalue - at
    assert mcnemar_mid_p(first, second) == pytest.approx(expected)


def test_bonett_price_is_the_interval_of_their_example() -> None:
    # 43, 14, 3 and 15 of 75: the adjusted difference is 15/77 - 4/77, its error by hand.
    first = np.array([True] * 43 + [True] * 14 + [False] * 3 + [False] * 15)
    second = np.array([True] * 43 + [False] * 14 + [True] * 3 + [False] * 15)
    up, down = 15 / 77, 4 / 77
    half = stats.norm.ppf(0.975) * math.sqrt((up + down - (up - down) ** 2) / 77)
    assert bonett_price(first, second) == pytest.approx((up - down - half, up - down + half))


@pytest.mark.parametrize(("right", "trials"), [(7, 10), (0, 5), (5, 5), (17, 21), (3243, 3245)])
def test_fractions_have_the_exact_interval(right: int, trials: int) -> None:
    expected = stats.binomtest(right, trials).proportion_ci(method="exact")
    assert fraction_interval(right, trials) == pytest.approx((expected.low, expected.high))


def test_seven_of_ten_may_be_anything_from_35_to_93_percent() -> None:
    error = math.sqrt(0.7 * 0.3 / 10)
    assert value_interval(0.7, 0.7, 1.96 * error, error, 10) == pytest.approx((0.348, 0.933), abs=6e-4)


def test_an_auc_of_1_is_not_certain() -> None:
    low, high = value_interval(1.0, 1.0, 0.0, 0.0, 20, ((20, 20),))
    assert high == 1.0
    assert 0.8 < low < 0.95
    more, _ = value_interval(1.0, 1.0, 0.0, 0.0, 2000, ((2000, 2000),))
    assert 0.998 < more < 1


def test_nothing_is_known_of_endless_errors() -> None:
    assert value_interval(0.9, 0.9, math.inf, 0.0, 10) == (0.0, 1.0)
    assert value_interval(0.9, 0.9, math.inf, 0.0, math.inf) == (0.0, math.inf)
