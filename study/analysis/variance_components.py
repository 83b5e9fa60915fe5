"""How much seeds and images blur the means of configurations: the multi-reader multi-case model, seeds as readers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, fdtri

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POOLED = 8
"""The spread between seeds is pooled over the leader and at most the next seven: five leave too little power."""
STRICT_LEVEL, TWO_SEEDS_LEVEL, LEADER_LEVEL, OTHER_LEVEL = 0.1, 0.25, 0.01, 0.001
"""Levels of the F test by which a configuration gets its own spread instead of the pooled one, found by simulation.

The leader's matters most, as a wide spread is how a configuration leads by luck. Two seeds show a six-fold spread too
seldom for a low level. One of many others may not hide a true lead by chance.
"""


@dataclass(frozen=True)
class Runs:
    """A metric of the runs of several configurations on the same images; higher is better.

    Attributes:
        values: [runs].
        units: [runs, groups], as in ``Influence``.
        configuration: [runs], in [0, configurations).
        seed: [runs], equal for runs that share a seed.
    """

    values: Floats
    units: Floats
    configuration: Ints
    seed: Ints

    @functools.cached_property
    def counts(self) -> Ints:
        """The number of runs of each configuration."""
        return np.bincount(self.configuration)

    @functools.cached_property
    def averaging(self) -> Floats:
        """[configurations, runs], what turns runs into means of configurations."""
        matrix = np.zeros((len(self.counts), len(self.values)))
        matrix[self.configuration, np.arange(len(self.values))] = 1 / self.counts[self.configuration]
        return matrix

    @functools.cached_property
    def means(self) -> Floats:
        """[configurations], the mean over seeds."""
        means: Floats = np.bincount(self.configuration, weights=self.values) / self.counts  # equal runs, equal means
        return means

    @functools.cached_property
    def mean_units(self) -> Floats:
        """[configurations, groups], the influence of each group of images on the mean."""
        return self.averaging @ self.units

    @functools.cached_property
    def gram(self) -> Floats:
        """[runs, runs], the covariance of the values that the choice of images causes."""
        return self.units @ self.units.T

    @functools.cached_property
    def is_balanced(self) -> bool:
        """Whether all configurations ran with the same seeds."""
        sets = {frozenset(self.seed[self.configuration == k].tolist()) for k in range(len(self.counts))}
        return len(sets) == 1

    def spread(self, weights: Floats, df: int) -> tuple[float, float]:
        """Return the mean square of linear combinations of runs, and the part of it that images cause.

        Args:
            weights: [combinations, runs].
            df: their degrees of freedom.
        """
        combined = weights @ self.values
        images = float(np.sum((weights @ self.gram) * weights))
        return float(combined @ combined) / df, images / df


@dataclass(frozen=True)
class SeedSpread:
    """The variance between seeds of each configuration.

    Attributes:
        total: [configurations], between runs on the same images, as observed.
        images: [configurations], the part of it that images cause, because runs err on different ones.
        df: [configurations], degrees of freedom of ``total``.
        own: [configurations], whether it is the configuration's own instead of the pooled variance.
        scatters: [configurations], whether it is its own because it is far larger than that of the others.
        runs: [configurations], number of seeds.
    """

    total: Floats
    images: Floats
    df: Ints
    own: NDArray[np.bool_]
    scatters: NDArray[np.bool_]
    runs: Ints

    def of_means(self) -> Floats:
        """Return [configurations], the variances of the means that seeds cause beside the images, at least 0."""
        variances: Floats = np.maximum(self.total - self.images, 0) / self.runs
        return variances

    def beside_images(self, scale: Floats | float = 1.0) -> Floats:
        """Return [..., configurations], the variances of the means beside what images cause in them.

        They are below 0 where runs differ less than their images alone let expect: what images cause in a mean
        includes what each run errs by itself, and only the sum of both is a variance.

        Args:
            scale: [..., configurations], how much larger than observed the variances are taken to be.
        """
        variances: Floats = (self.total * scale - self.images) / self.runs
        return variances

    def nodes(self, count: int) -> Floats:
        """Return [count, configurations], equally likely values of ``beside_images`` given what was observed."""
        scale = np.empty((count, len(self.total)))
        for k, (df, own) in enumerate(zip(self.df, self.own, strict=True)):
            scale[:, k] = shared_scales(int(df), count, k + 1 if own else 0)
        return self.beside_images(scale)


@functools.lru_cache(maxsize=512)
def shared_scales(df: int, count: int, stream: int = 0) -> Floats:
    """Return df over chi-square [count] at evenly spaced probabilities, in an order that depends on the stream."""
    if df == 0:  # there are no seeds to speak of
        return np.zeros(count)
    scales: Floats = df / chdtri(df, (np.arange(count) + 0.5) / count)
    return np.random.default_rng([stream, count]).permutation(scales)


_REST_DF = 12
"""Degrees of freedom that the others have at least in this test, as one by fewer hardly ever sees a wide spread."""

Care = Literal["none", "leader", "all"]
"""Whose wide spread would mislead: nobody's where only averages matter, the leader's, or everybody's."""


def seed_spread(runs: Runs, order: Sequence[int], care: Care = "leader", most: int = POOLED) -> SeedSpread:
    """Estimate the variance between the seeds of each configuration.

    It is pooled over the leader and the next seven, as the residual of configuration and seed (of the configuration
    alone where they ran with different seeds). A configuration whose own variance the F test calls larger keeps its
    own, with its own degrees of freedom. A configuration with one seed gets the pooled variance with one degree.

    Args:
        runs: at least one configuration has several seeds.
        order: the configurations, best first.
        care: whose variance is tested at which level. Where all matter, or the leader has two seeds, it is the larger
            of both variances.
        most: how many of the best it is pooled over.

    Source: Obuchowski & Rockette 1995 and Hillis 2014; seeds are the readers, images the cases.
    """
    size, counts = len(runs.counts), runs.counts
    pool = [k for k in order if counts[k] > 1][:most]
    total, images = np.zeros(size), np.zeros(size)
    df, own, scatters = np.ones(size, np.int64), counts == 1, np.zeros(size, np.bool_)
    candidates: dict[int, _OwnSpread] = {}
    if len(pool) > 1 and not (runs.is_balanced and size == 2):
        candidates = {k: _own_spread(runs, k, pool) for k in range(size) if counts[k] > 1}
    for k, each in candidates.items():
        is_leader = care == "leader" and k == order[0]
        is_strict = care == "all" or (is_leader and counts[k] == 2)
        strict_level = TWO_SEEDS_LEVEL if counts[k] == 2 else STRICT_LEVEL
        level = strict_level if is_strict else LEADER_LEVEL if is_leader else OTHER_LEVEL
        scatters[k] = each.ratio > fdtri(each.df, max(each.rest_df, _REST_DF), 1 - level)
    pool = [k for k in pool if not scatters[k]] if (~scatters[pool]).sum() > 1 else pool
    pooled, pooled_images, pooled_df = _pooled(runs, pool)
    for k in range(size):
        total[k], images[k] = pooled, pooled_images
        df[k] = 1 if counts[k] == 1 else pooled_df
        if k not in candidates:
            continue
        alone = candidates[k]
        # With two configurations and different seeds there is nobody to pool with.
        takes_own = scatters[k] or (size == 2 and not runs.is_balanced)
        is_strict = care == "all" or (care == "leader" and k == order[0] and counts[k] == 2)
        if takes_own:
            own[k], df[k] = True, alone.df
        if takes_own or (is_strict and alone.total - alone.images > pooled - pooled_images):
            total[k], images[k] = alone.total, alone.images
    return SeedSpread(total, images, df, own, scatters, counts)


@dataclass(frozen=True)
class _OwnSpread:
    total: float
    images: float
    df: int
    ratio: float
    rest_df: int


def _own_spread(runs: Runs, k: int, pool: Sequence[int]) -> _OwnSpread:
    """Return a configuration's own variance between seeds, and its ratio to that of the others in the pool."""
    others = [each for each in pool if each != k]
    if runs.is_balanced and len(others) < 2:
        return _OwnSpread(0.0, 0.0, 1, 0.0, 1)
    rest, rest_images, rest_df = _pooled(runs, others)
    own_df = int(runs.counts[k]) - 1
    weights = _centred(np.flatnonzero(runs.configuration == k), len(runs.values))
    share = 0.0
    if runs.is_balanced:  # less the mean of the others with the same seed
        share = 1 / len(others)
        seeds = runs.seed[np.flatnonzero(runs.configuration == k)]
        for other in others:
            at = np.flatnonzero(runs.configuration == other)
            at = at[np.argsort(runs.seed[at])][np.argsort(np.argsort(seeds))]
            weights = weights - share * _centred(at, len(runs.values))
    total, images = runs.spread(weights, own_df)
    # What images cause is known, so only the seeds' part is expected to be that of the others.
    expected = max(rest - rest_images, 0) * (1 + share) + images
    ratio = total / expected if expected > 0 else (np.inf if total > 0 else 0.0)
    return _OwnSpread(max(total - share * rest, 0), max(images - share * rest_images, 0), own_df, float(ratio), rest_df)


def _centred(at: Ints, runs: int) -> Floats:
    """Return [len(at), runs], each of these runs less their mean."""
    weights = np.zeros((len(at), runs))
    weights[:, at] = np.eye(len(at)) - 1 / len(at)
    return weights


def _pooled(runs: Runs, pool: Sequence[int]) -> tuple[float, float, int]:
    """Return the residual variance of these configurations, the part that images cause, and its degrees of freedom."""
    at = np.flatnonzero(np.isin(runs.configuration, pool))
    configuration, seed = runs.configuration[at], runs.seed[at]
    residual = np.eye(len(at)) - (configuration[:, None] == configuration) / runs.counts[configuration]
    df = len(at) - len(pool)
    if runs.is_balanced and len(pool) > 1:
        residual += 1 / len(at) - (seed[:, None] == seed) / len(pool)
        df -= len(at) // len(pool) - 1
    # A projection, so that the sum of squares of what is left is the form itself.
    total = float(runs.values[at] @ residual @ runs.values[at])
    return max(total, 0.0) / df, float(np.sum(residual * runs.gram[np.ix_(at, at)])) / df, df


def seed_main_effect(runs: Runs, pool: Sequence[int]) -> tuple[float, float, float, int]:
    """Estimate how much the seeds move all configurations together.

    Returns:
        Variance of a seed's mean over configurations, the part of it that images cause, the variance that the
        residual alone would leave in it, and its degrees of freedom; zeros where seeds are not shared.
    """
    pool = [k for k in pool if runs.counts[k] > 1][:POOLED]
    if not runs.is_balanced or len(pool) < 2:
        return 0.0, 0.0, 0.0, 0
    seeds = np.unique(runs.seed)
    weights = np.zeros((len(seeds), len(runs.values)))
    inside = np.isin(runs.configuration, pool)
    for row, seed in enumerate(seeds):
        weights[row, inside & (runs.seed == seed)] = 1 / len(pool)
    weights -= weights.mean(axis=0)
    residual, residual_images, _ = _pooled(runs, pool)
    total, images = runs.spread(weights, len(seeds) - 1)
    return total, images, max(residual - residual_images, 0) / len(pool), len(seeds) - 1
