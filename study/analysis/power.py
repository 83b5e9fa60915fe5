"""How many images and seeds it takes to see a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from scipy.special import chdtri, ndtr, ndtri

from study.analysis.statistics.contrast import LEVEL, half_widths, total_variances
from study.analysis.verdict import Comparison
from study.analysis.verdict_by_values import auc_standard_error

TARGET = 0.8
"""The probability of seeing a difference that is asked for."""
MOST_SEEDS, MOST_IMAGES = 100, 10_000_000
FEW_SEEDS = 20
_NODES = 64
_MANY = 10_000
"""So many images that the error falls with their square root."""


@dataclass(frozen=True)
class VarianceComponents:
    """What blurs the difference between two configurations.

    Attributes:
        images: variance that images cause in runs of all seeds alike, times the number of images.
        own_images: variance that images cause in each run by itself, times the number of images.
        seeds: variance between seeds beside that.
        configurations: how many configurations the variance between seeds is pooled over.
    """

    images: float
    own_images: float
    seeds: float
    configurations: int = 2

    def variance(self, seeds: int, images: float) -> float:
        """Return the variance of the difference between two means."""
        return self.images / images + (self.own_images / images + self.seeds) / seeds


def components_of(comparison: Comparison, first: int, other: int) -> VarianceComponents:
    """Estimate the variance components of the difference between two configurations from their runs."""
    runs, spread = comparison.runs, comparison.plain_model.spread
    images = runs.units.shape[1]
    total = float(((runs.mean_units[first] - runs.mean_units[other]) ** 2).sum())
    if spread is None:
        return VarianceComponents(total * images, 0.0, 0.0)
    own = float(spread.images[first] / spread.runs[first] + spread.images[other] / spread.runs[other])
    seeds = spread.of_means() * spread.runs
    per_seed = float(spread.images[first] + spread.images[other])
    return VarianceComponents(
        max(total - own, 0.0) * images, per_seed * images, float(seeds[first] + seeds[other]),
        min(len(runs.counts), 8),
    )  # fmt: skip


def power(components: VarianceComponents, difference: float, seeds: int, images: float, level: float = LEVEL) -> float:
    """Return the probability that a difference is seen by the test of ``contrasts``.

    Of fewer images than any sign test needs the test says nothing.

    Args:
        components: what blurs it.
        difference: the true one.
        seeds: of each configuration; with one the answer is about checkpoints, and images alone blur it.
        images: how many.
        level: of the two-sided test.
    """
    if images < 1 - math.log2(level):
        return 0.0
    if seeds == 1:
        error = math.sqrt((components.images + components.own_images) / images)
        if error == 0:
            return 1.0 if difference else level
        shift, bound = abs(difference) / error, -float(ndtri(level / 2))
        return float(ndtr(shift - bound) + ndtr(-shift - bound))
    df = (components.configurations - 1) * (seeds - 1)
    middle = (np.arange(_NODES) + 0.5) / _NODES
    observed = chdtri(df, middle) / df  # [nodes], what the estimate may be, in the true variance
    scale = df / chdtri(df, middle)  # [nodes], what the truth may be, in the estimate
    own = components.own_images / images
    by_images = (components.images + components.own_images / seeds) / images
    beside = ((own + components.seeds) * np.outer(scale, observed) - own) / seeds
    variances = total_variances(np.full(_NODES, by_images), beside)
    error = math.sqrt(components.variance(seeds, images))
    if error == 0:
        return 1.0 if difference else level
    widths = half_widths(variances, level)
    shift = abs(difference)
    return float(np.mean(ndtr((shift - widths) / error) + ndtr((-shift - widths) / error)))


def images_needed(components: VarianceComponents, difference: float, seeds: int, target: float = TARGET) -> int | None:
    """Return how many images show a difference with so many seeds, None where no number suffices."""
    if power(components, difference, seeds, MOST_IMAGES) < target:
        return None
    low, high = 1, MOST_IMAGES
    while high - low > max(1, low // 1000):
        middle = math.isqrt(low * high) if high > 4 * low else (low + high) // 2
        low, high = (low, middle) if power(components, difference, seeds, middle) >= target else (middle, high)
    return high


def seeds_needed(components: VarianceComponents, difference: float, images: int, target: float = TARGET) -> int | None:
    """Return how many seeds show a difference on so many images, None where 100 do not suffice."""
    if power(components, difference, MOST_SEEDS, images) < target:
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(components, difference, middle, images) >= target else (middle, high)
    return high


def cheapest(
    components: VarianceComponents, difference: float, seeds: int, images: int, target: float = TARGET
) -> tuple[int, int] | None:
    """Return seeds and images that show a difference at little growth over those at hand; None where none do.

    Growth is the product of both, as each image is classified by each run. Of the pairs that grow by at most a quarter
    more than the least, the one with the fewest seeds is returned, since a run takes longest; more than 20 seeds are
    named only where fewer do not suffice.
    """
    if seeds == 1:
        needed = images_needed(components, difference, 1, target)
        return None if needed is None else (1, max(needed, images))
    for counts in (range(seeds, max(seeds, FEW_SEEDS) + 1), (25, 30, 40, 50, 75, MOST_SEEDS)):
        pairs = [
            (more, max(needed, images))
            for more in counts
            if more >= seeds and (needed := images_needed(components, difference, more, target)) is not None
        ]
        if pairs:
            least = min(more * needed for more, needed in pairs)
            return next(pair for pair in pairs if pair[0] * pair[1] <= 1.25 * least)
    return None


def typical_components(comparison: Comparison) -> VarianceComponents:
    """Estimate what blurs the difference between the leader and each of at most the next seven, on average.

    The comparison has at least two configurations.
    """
    leader, *others = comparison.order[:8]
    each = [components_of(comparison, leader, other) for other in others]
    images, own, seeds = (fmean(getattr(parts, name) for parts in each) for name in ("images", "own_images", "seeds"))
    return replace(each[0], images=images, own_images=own, seeds=seeds)


def assumed_components(
    metric: str, value: float, correlation: float, seed_sd: float, configurations: int, share: float = 0.5
) -> VarianceComponents:
    """Return what blurs the difference between two configurations of which nothing has run.

    Seeds of one configuration are taken to err on the same images, so that more of them do not make up for images.

    Args:
        metric: "auc", or a fraction of right answers: "accuracy", "recall", "precision".
        value: about what both reach, in (0, 1).
        correlation: between the errors of two configurations on the same images, in [0, 1).
        seed_sd: standard deviation of the metric between seeds, beside what images cause.
        configurations: how many the variance between seeds is pooled over.
        share: of images in the positive class for the AUC, of those that count for a fraction.

    Source: Hanley & McNeil 1982 for the AUC.
    """
    if metric == "auc":
        positives = round(_MANY * share)
        single = auc_standard_error(value, positives, _MANY - positives) ** 2 * _MANY
    else:
        single = value * (1 - value) / share
    return VarianceComponents(2 * single * (1 - correlation), 0.0, 2 * seed_sd**2, min(configurations, 8))


@dataclass(frozen=True)
class Requirements:
    """What it takes to see a difference with a probability; None where no number suffices.

    Attributes:
        probability: of seeing it with the seeds and images at hand.
        cheapest: seeds and images at the least growth over those at hand.
        images: with the seeds at hand.
        seeds: with the images at hand.
    """

    probability: float
    cheapest: tuple[int, int] | None
    images: int | None
    seeds: int | None


def requirements(
    components: VarianceComponents, difference: float, seeds: int, images: int, target: float = TARGET
) -> Requirements:
    """Return what it takes to see a difference, given so many seeds and images."""
    return Requirements(
        power(components, difference, seeds, images),
        cheapest(components, difference, seeds, images, target),
        images_needed(components, difference, seeds, target),
        seeds_needed(components, difference, images, target),
    )
