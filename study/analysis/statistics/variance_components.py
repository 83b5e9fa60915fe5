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
STRICT_LEVEL, TWO_SEEDS_LEVEL, LEADER_LEVEL, OTHER_LEVEL = 0.1, 0.25, 0.02, 0.001
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
        """Whether all configurations ran once with each of the same seeds."""
        seeds = np.unique(self.seed)
        pairs = set(zip(self.configuration.tolist(), self.seed.tolist(), strict=True))
        return len(pairs) == len(self.seed) == len(self.counts) * len(seeds)

    @functools.cached_property
    def products(self) -> tuple[Floats, Floats]:
        """[configurations, configurations] twice: sums over seeds of products of values, and what images cause of them.

        The values are less their mean over the configuration's seeds. Off the diagonal only where all ran with the
        same seeds, else 0.
        """
        size, counts = len(self.counts), self.counts
        if self.is_balanced:
            at = np.lexsort((self.seed, self.configuration))
            centred = self.values[at].reshape(size, -1)
            centred = centred - centred.mean(axis=1, keepdims=True)  # [configurations, seeds]
            gram = self.gram[np.ix_(at, at)].reshape(size, len(at) // size, size, -1)
            return centred @ centred.T, np.einsum("krlr->kl", gram) - gram.sum(axis=(1, 3)) / counts
        squares = (self.values - self.means[self.configuration]) ** 2
        images = np.diagonal(self.gram) - (self.averaging @ self.gram)[self.configuration, np.arange(len(squares))]
        return tuple(  # type: ignore[return-value]
            np.diag(np.bincount(self.configuration, weights=each)) for each in (squares, images)
        )


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
def shared_scales(df: float, count: int, stream: int = 0) -> Floats:
    """Return df over chi-square [count] at evenly spaced probabilities, in an order that depends on the stream."""
    if df == 0:  # there are no seeds to speak of
        return np.zeros(count)
    scales = np.asarray(df / chdtri(df, (np.arange(count) + 0.5) / count), np.float64)
    return np.random.default_rng([stream, count]).permutation(scales)


_REST_DF = 12
"""Degrees of freedom that the others have at least in this test, as one by fewer hardly ever sees a wide spread."""

Care = Literal["none", "leader", "all"]
"""Whose wide spread would mislead: nobody's where only averages matter, the leader's, or everybody's."""


def seed_spread(
    runs: Runs,
    order: Sequence[int],
    care: Care = "leader",
    scatter_level: float = LEADER_LEVEL,
) -> SeedSpread:
    """Estimate the variance between the seeds of each configuration.

    It is pooled over the leader and the next seven, as the residual of configuration and seed (of the configuration
    alone where they ran with different seeds). A configuration whose own variance the F test calls larger keeps its
    own, with its own degrees of freedom. A configuration with one seed gets the pooled variance with one degree.

    Args:
        runs: at least one configuration has several seeds.
        order: the configurations, best first.
        care: whose variance is tested at which level. Where all matter, or the leader has two seeds, it is the larger
            of both variances.
        scatter_level: of the F test of a leader of more than two seeds.

    Source: Obuchowski & Rockette 1995 and Hillis 2014; seeds are the readers, images the cases.
    """
    size, counts = len(runs.counts), runs.counts
    pool = [k for k in order if counts[k] > 1][:POOLED]
    own, scatters = counts == 1, np.zeros(size, np.bool_)
    strict = np.full(size, care == "all")
    if care == "leader":
        strict[order[0]] = counts[order[0]] == 2
    alone = None
    # Of two configurations with the same seeds only the difference is known.
    if len(pool) > 1 and not (runs.is_balanced and len(pool) == 2):
        alone = _own_spreads(runs, pool)
        levels = np.where(strict, np.where(counts == 2, TWO_SEEDS_LEVEL, STRICT_LEVEL), OTHER_LEVEL)
        if care == "leader" and not strict[order[0]]:
            levels[order[0]] = scatter_level
        rest_df = np.maximum(alone.rest_df, _REST_DF)
        scatters = (counts > 1) & (alone.ratio > fdtri(np.maximum(counts - 1, 1), rest_df, 1 - levels))
    pool = [k for k in pool if not scatters[k]] if (~scatters[pool]).sum() > 1 else pool
    pooled, pooled_images, pooled_df = _pooled(runs, pool)
    total, images = np.full(size, pooled), np.full(size, pooled_images)
    df = np.where(counts == 1, 1, pooled_df)
    if alone is not None:
        # With two configurations and different seeds there is nobody to pool with.
        takes_own = scatters | ((counts > 1) & (size == 2))
        larger = takes_own | (strict & (counts > 1) & (alone.total - alone.images > pooled - pooled_images))
        own, df = own | takes_own, np.where(takes_own, counts - 1, df)
        total, images = np.where(larger, alone.total, total), np.where(larger, alone.images, images)
    return SeedSpread(total, images, df, own, scatters, counts)


@dataclass(frozen=True)
class _OwnSpreads:
    """[configurations], the variances of each by itself, and their ratio to that of the others in the pool."""

    total: Floats
    images: Floats
    ratio: Floats
    rest_df: Ints


def _own_spreads(runs: Runs, pool: Sequence[int]) -> _OwnSpreads:
    inside = np.zeros(len(runs.counts))
    inside[pool] = 1.0
    df = np.maximum(runs.counts - 1, 1)
    others = len(pool) - inside  # [configurations], of the pool
    if runs.is_balanced:  # each less the mean of the others with the same seed
        share, rest_df = 1 / others, ((others - 1) * df).astype(np.int64)
    else:
        share, rest_df = np.zeros(len(df)), (df[pool].sum() - inside * df).astype(np.int64)
    sums = []
    for products in runs.products:
        own, to_pool = np.diagonal(products), products @ inside
        squares = inside @ own - inside * own
        both = inside @ to_pool - inside * (2 * to_pool - own)
        rest = (squares - share * both) / rest_df
        sums.append(((own - 2 * share * (to_pool - inside * own) + share**2 * both) / df, np.maximum(rest, 0)))
    (total, rest), (images, rest_images) = sums
    # What images cause is known, so only the seeds' part is expected to be that of the others.
    expected = np.maximum(rest - rest_images, 0) * (1 + share) + images
    ratio = np.where(expected > 0, total / np.where(expected > 0, expected, 1), np.where(total > 0, np.inf, 0.0))
    return _OwnSpreads(
        np.maximum(total - share * rest, 0), np.maximum(images - share * rest_images, 0), ratio, rest_df
    )  # fmt: skip


def _pooled(runs: Runs, pool: Sequence[int]) -> tuple[float, float, int]:
    """Return the residual variance of these configurations, the part that images cause, and its degrees of freedom."""
    share, df = 0.0, int((runs.counts[pool] - 1).sum())
    if runs.is_balanced and len(pool) > 1:
        share, df = 1 / len(pool), (len(pool) - 1) * (int(runs.counts[0]) - 1)
    values, images = (each[np.ix_(pool, pool)] for each in runs.products)
    total, by_images = (float(np.trace(each) - share * each.sum()) / df for each in (values, images))
    return max(total, 0.0), by_images, df


def seed_main_effect(runs: Runs, pool: Sequence[int]) -> tuple[float, float, float, int]:
    """Estimate how much the seeds move all configurations together.

    Returns:
        Variance of a seed's mean over configurations, the part of it that images cause, the variance that the
        residual alone would leave in it, and its degrees of freedom; zeros where seeds are not shared.
    """
    pool = [k for k in pool if runs.counts[k] > 1][:POOLED]
    if not runs.is_balanced or len(pool) < 2:
        return 0.0, 0.0, 0.0, 0
    df = int(runs.counts[0]) - 1
    total, images = (float(each[np.ix_(pool, pool)].mean()) / df for each in runs.products)
    residual, residual_images, _ = _pooled(runs, pool)
    return total, images, max(residual - residual_images, 0) / len(pool), df
