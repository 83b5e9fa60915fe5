"""One comparison of two means on the same images: difference, interval, p value, and what blurs it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri

from study.analysis.statistics.own_spread import OwnSpread
from study.analysis.statistics.variance_components import Runs, SeedSpread

Floats = NDArray[np.float64]

LEVEL = 0.05
NODES = 512
_FEWEST_DECISIVE = 2.0
"""Bonett and Price add one image for and one against to the images that decide a comparison."""


_SHARED_AT_LEAST = 0.2
"""The part of the variance by images that is taken to be common to all seeds at least."""
_ROUNDING = 1e-12
"""A variance this much smaller than those it is the difference of is zero."""


@dataclass(frozen=True)
class Contrast:
    """The difference between two means.

    Attributes:
        value: the first less the second, in the unit of the metric.
        low, high: ends of its interval; infinite where nothing is known.
        p: two-sided p value of no difference.
        se_seed, se_image: standard errors that seeds and images cause.
        level: 1 less the coverage of the interval, and the level of the test.
    """

    value: float
    low: float
    high: float
    p: float
    se_seed: float
    se_image: float
    level: float = LEVEL

    @property
    def is_certain(self) -> bool:
        """Whether test and interval both exclude that there is no difference."""
        return self.p < self.level and (self.low > 0 or self.high < 0)

    def is_within(self, matters: float) -> bool:
        """Whether the interval lies inside +-``matters``, so that both are practically the same."""
        return -matters <= self.low and self.high <= matters


def look_level(look: int) -> float:
    """Return the level of the look-th look at growing results: 5 % for the first, 5 % / look squared for later ones.

    However often one looks, equal configurations get a winner in at most 6.5 % of studies, because every look shares
    most of its results with the one before; unrelated looks would add up to 8.2 %.

    Args:
        look: at least 1.

    Source: spending a level over looks whose number is not planned, Lan & DeMets 1983; the shares by simulation
        (``tests/analysis/test_looks.py``).
    """
    assert look >= 1
    return LEVEL / look**2


@dataclass(frozen=True)
class ErrorModel:
    """What blurs the means of configurations.

    Attributes:
        runs: the runs.
        spread: their variance between seeds; None where each ran once, so that it is unknown.
        one_image: how much one image more or less moves the metric at most; for a difference without variance.
        known: whether the images suffice to estimate an error.
    """

    runs: Runs
    spread: SeedSpread | None
    one_image: float
    known: bool = True

    def image_errors(self, first: int, others: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the variance of differences that images cause, and the effective number of images that decide each.

        That number is the inverse kurtosis of their influence; each difference counts as if two more images, one
        for and one against, had decided it.

        Source: Bonett & Price 2012 for fractions, whose numerator this is for paired right and wrong answers.
        """
        means = self.runs.mean_units
        units = means[first] - means[others]  # [others, groups]
        single = (means[first] ** 2).sum() + (means[others] ** 2).sum(axis=1)
        units[(units**2).sum(axis=1) < _ROUNDING * single] = 0
        return _regularized(units)

    def combined_image_errors(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return ``image_errors`` of linear combinations of the means.

        Args:
            weights: [combinations, configurations].
        """
        means = self.runs.mean_units
        units = weights @ means  # [combinations, groups]
        units[(units**2).sum(axis=1) < _ROUNDING * (weights**2 @ (means**2).sum(axis=1))] = 0
        return _regularized(units)

    @functools.cached_property
    def pair_variances(self) -> tuple[Floats, Floats]:
        """[configurations, configurations], ``image_errors`` of every pair, before and after the two images are added.

        Sums of the second and fourth power of all differences, by products of matrices.
        """
        units = self.runs.mean_units
        cross, squares, cubes = units @ units.T, units**2 @ (units**2).T, units**3 @ units.T
        own = np.diagonal(cross)
        plain = own[:, None] + own - 2 * cross
        plain[plain < _ROUNDING * (own[:, None] + own)] = 0
        own = np.diagonal(squares)
        fourth = np.maximum(own[:, None] + own + 6 * squares - 4 * (cubes + cubes.T), 0)
        return plain, plain + _FEWEST_DECISIVE * fourth / np.where(plain > 0, plain, np.inf)

    def nodes(self, count: int = NODES) -> Floats:
        """Return [count, configurations], equally likely variances of the means that seeds cause."""
        if self.spread is None:
            return np.zeros((1, len(self.runs.counts)))
        return self.spread.nodes(count)


def _regularized(units: Floats) -> tuple[Floats, Floats]:
    squares = units**2
    variances = squares.sum(axis=-1)
    fourth = (squares**2).sum(axis=-1)
    safe = np.where(variances > 0, variances, 1)
    decisive = np.where(variances > 0, safe**2 / np.where(fourth > 0, fourth, 1), 0.0)
    return variances + _FEWEST_DECISIVE * fourth / safe, decisive


def contrasts(model: ErrorModel, first: int, others: NDArray[np.int64], level: float = LEVEL) -> list[Contrast]:
    """Compare one configuration with each of others by images and seeds.

    A variance of zero gives no claim: the p value is 1 and the interval that of one image for and one against. Nor
    do fewer images than any sign test needs.

    Args:
        model: of metrics where higher is better.
        first: the configuration.
        others: [others], those to compare it with.
        level: 1 less the coverage of the intervals.

    Source: the Behrens-Fisher integral over the chi-square of the seed variance, Fisher 1935.
    """
    differences = model.runs.means[first] - model.runs.means[others]
    images, decisive = model.image_errors(first, others)
    nodes = model.nodes()
    variances = total_variances(images, nodes[:, [first]] + nodes[:, others])  # [nodes, others]
    p = p_values(differences, variances)
    p = np.maximum(p, np.where(decisive > 0, np.exp2(1 - np.minimum(decisive, 60)), 1))
    half = half_widths(variances, level)
    half = np.where(decisive > 0, half, -ndtri(level / 2) * math.sqrt(2) * model.one_image)
    point = np.zeros(len(model.runs.counts)) if model.spread is None else model.spread.of_means()
    return [
        Contrast(float(d), float(d - h), float(d + h), float(each), math.sqrt(point[first] + point[other]),
                 math.sqrt(image), level)
        if model.known else Contrast(float(d), -math.inf, math.inf, 1.0, math.inf, math.inf, level)
        for d, h, each, other, image in zip(differences, half, p, others, images, strict=True)
    ]  # fmt: skip


def linear_contrasts(
    model: ErrorModel, weights: Floats, spread: OwnSpread | None, level: float = LEVEL
) -> list[Contrast]:
    """Estimate linear combinations of the means, such as the main effect of a factor.

    Args:
        model: of metrics where higher is better; its own spread between seeds is not used.
        weights: [combinations, configurations], each row adds up to 0.
        spread: the variance between seeds; None where each configuration ran once.
        level: 1 less the coverage of the intervals.
    """
    values = weights @ model.runs.means
    images, decisive = model.combined_image_errors(weights)
    point = np.zeros(len(weights)) if spread is None else spread.of_combinations(weights)
    nodes = np.zeros((1, len(weights))) if spread is None else spread.nodes_of(weights, NODES)
    variances = total_variances(images, nodes)
    p = np.maximum(p_values(values, variances), np.where(decisive > 0, np.exp2(1 - np.minimum(decisive, 60)), 1))
    unknown = -ndtri(level / 2) * np.sqrt((weights**2).sum(axis=1)) * model.one_image
    half = np.where(decisive > 0, half_widths(variances, level), unknown)
    return [
        Contrast(float(v), float(v - h), float(v + h), float(each), math.sqrt(seed), math.sqrt(image), level)
        if model.known else Contrast(float(v), -math.inf, math.inf, 1.0, math.inf, math.inf, level)
        for v, h, each, seed, image in zip(values, half, p, point, images, strict=True)
    ]  # fmt: skip


def total_variances(images: Floats, seeds: Floats) -> Floats:
    """Return [nodes, n], what images [n] and seeds [nodes, n] cause together."""
    variances: Floats = np.maximum(images + seeds, _SHARED_AT_LEAST * images)
    return variances


def p_values(differences: Floats, variances: Floats) -> Floats:
    """Return two-sided p values of differences [n], given equally likely variances [nodes, n]; 1 where one is zero."""
    blurred = (variances > 0).all(axis=0)
    safe = np.where(variances > 0, variances, 1)
    p: Floats = np.where(blurred, 2 * ndtr(-np.abs(differences) / np.sqrt(safe)).mean(axis=0), 1.0)
    return p


def half_widths(variances: Floats, level: float = LEVEL) -> Floats:
    """Return half the widths [n] of intervals, given equally likely variances [nodes, n] of normal errors.

    What lies outside falls with the width and is convex in it, so that Newton's steps from below never overshoot.
    """
    errors = np.sqrt(variances)
    largest = errors.max(axis=0)
    errors = np.maximum(errors, np.where(largest > 0, 1e-6 * largest, 1.0))
    # Half of the errors are at least the median, so that this lies below.
    widths: Floats = np.where(largest > 0, max(-ndtri(level), 0.0) * np.median(errors, axis=0), 0.0)
    for _ in range(60):
        ratios = np.minimum(widths / errors, 40)
        outside = np.where(largest > 0, 2 * ndtr(-ratios).mean(axis=0), 0.0)
        slope = (np.exp(-(ratios**2) / 2) / errors).mean(axis=0) * math.sqrt(2 / math.pi)
        steps = np.maximum(outside - level, 0) / slope
        widths = widths + steps
        if np.all(steps <= 1e-9 * widths):
            break
    return widths


def mcnemar_mid_p(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the two-sided mid-p value of McNemar's test of two classifiers that were right or wrong on same images.

    Source: Fagerland, Lydersen & Laake 2013; 1 where they never differ.
    """
    for_first, for_second = int((first & ~second).sum()), int((second & ~first).sum())
    fewer, n = min(for_first, for_second), for_first + for_second
    if for_first == for_second:
        return 1.0
    at_most, at = float(bdtr(fewer, n, 0.5)), float(bdtr(fewer, n, 0.5) - (bdtr(fewer - 1, n, 0.5) if fewer else 0))
    return min(1.0, 2 * at_most - at)


def bonett_price(first: NDArray[np.bool_], second: NDArray[np.bool_], level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of the difference between two fractions of the same images, first less second.

    Source: Bonett & Price 2012, Wald's interval with one image added to each kind of disagreement.
    """
    images = len(first)
    up, down = (int((first & ~second).sum()) + 1) / (images + 2), (int((second & ~first).sum()) + 1) / (images + 2)
    half = -float(ndtri(level / 2)) * math.sqrt((up + down - (up - down) ** 2) / (images + 2))
    return max(up - down - half, -1.0), min(up - down + half, 1.0)


def fraction_contrasts(
    model: ErrorModel, outcomes: NDArray[np.bool_], first: int, others: NDArray[np.int64], level: float = LEVEL
) -> list[Contrast]:
    """Compare a fraction of right answers of one run with those of others, by exact tests.

    Args:
        model: each configuration ran once.
        outcomes: [configurations, images], right or wrong.
        first: the configuration.
        others: [others], those to compare it with.
        level: 1 less the coverage of the intervals.
    """
    plain = contrasts(model, first, others, level)
    results = []
    for other, each in zip(others, plain, strict=True):
        low, high = bonett_price(outcomes[first], outcomes[other], level)
        p = mcnemar_mid_p(outcomes[first], outcomes[other])
        low, high = min(low, each.value), max(high, each.value)
        results.append(Contrast(each.value, low, high, p, 0.0, each.se_image, level))
    return results
