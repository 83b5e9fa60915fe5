"""Intervals of single values: fractions and AUCs near 1, whose errors are not symmetric."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import betaincinv, expit, logit, ndtri

from study.analysis.statistics.contrast import LEVEL

_SMALLEST_P, _LARGEST_P = 1e-12, 0.99


def value_interval(
    value: float,
    measured: float,
    half: float,
    image_error: float,
    trials: float,
    ranked: tuple[tuple[int, int], ...] = (),
    seeds: int = 1,
    images: int = 1,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return an interval of a value in [0, 1], or of one that is at least 0 where ``trials`` is infinite.

    Args:
        value: the estimate.
        measured: the value that its errors were measured at, which may differ from a corrected estimate.
        half: half the width of the symmetric interval by all that blurs it.
        image_error: the standard error that images cause.
        trials: yes-or-no trials that would blur a fraction as much as the images at hand.
        ranked: images of a class and others, for each class whose AUC is averaged; empty for other metrics.
        seeds: runs that the value is the mean of.
        images: how many there are, or groups of them.
        level: 1 less the coverage.
    """
    bound = -float(ndtri(level / 2))
    if math.isinf(half):
        return 0.0, math.inf if math.isinf(trials) else 1.0
    if math.isinf(trials):
        # Losses that are all the same show no spread; they are taken to spread as much as they are large.
        return _positive_interval(value, half if half > 1e-9 * value else bound * value / math.sqrt(images))
    if ranked:
        return _auc_interval(value, measured, half, bound * image_error, bound, ranked)
    error = half / bound
    room = measured * (1 - measured)
    effective = trials if error == 0 or room <= 0 else min(room / error**2, trials * seeds)
    return fraction_interval(value * effective, effective, level)


def independent_difference(
    values: tuple[float, float],
    intervals: Callable[[float], tuple[tuple[float, float], tuple[float, float]]],
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """Return the ends of the interval of a difference of independent estimates, and the p value of no difference.

    Args:
        values: the estimates, the first less the second.
        intervals: returns both intervals, of 1 less that coverage; smaller levels give wider ones.
        level: 1 less the coverage.

    Source: Newcombe 1998, method 10 for fractions; for any estimates Zou & Donner 2008. The p value is the largest
        level whose interval excludes 0.
    """
    first, second = values

    def ends(at: float) -> tuple[float, float]:
        (low, high), (other_low, other_high) = intervals(at)
        return (
            first - second - math.hypot(first - low, other_high - second),
            first - second + math.hypot(high - first, second - other_low),
        )

    def excludes(at: float) -> bool:
        low, high = ends(at)
        return low > 0 or high < 0

    low, high = ends(level)
    if first == second or not excludes(_LARGEST_P):
        return low, high, 1.0
    below, above = math.log(_SMALLEST_P), math.log(_LARGEST_P)
    for _ in range(30):
        middle = (below + above) / 2
        below, above = (below, middle) if excludes(math.exp(middle)) else (middle, above)
    return low, high, math.exp(above)


def fraction_interval(right: float, trials: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact interval of a fraction; counts need not be whole.

    Source: Clopper & Pearson 1934; with an effective number of trials Korn & Graubard 1998.
    """
    if trials <= 0:
        return 0.0, 1.0
    wrong = trials - right
    low = 0.0 if right <= 1e-9 else float(betaincinv(right, wrong + 1, level / 2))
    high = 1.0 if wrong <= 1e-9 else float(betaincinv(right + 1, wrong, 1 - level / 2))
    return low, high


def _positive_interval(value: float, half: float) -> tuple[float, float]:
    """Return the wider ends of the plain interval and of that on the scale of the logarithm."""
    if value <= 0:
        return 0.0, half
    ratio = math.exp(min(half / value, 50.0))
    return max(0.0, min(value - half, value / ratio)), max(value + half, value * ratio)


def _auc_interval(
    value: float, measured: float, half: float, by_images: float, bound: float, ranked: tuple[tuple[int, int], ...]
) -> tuple[float, float]:
    """Return the wider ends of the interval on the logit scale and of the score interval.

    Source: Pepe 2003, section 5.2.4; Newcombe 2006, part 2, method 5, whose variance is that of Hanley & McNeil 1982.
    """
    # Where more than the images blurs the value, the score interval widens in proportion.
    low, high = _auc_score_interval(value, bound * max(1.0, half / by_images if by_images > 0 else 1.0), ranked)
    if 0 < value < 1 and 0 < measured < 1:
        scaled = half / (measured * (1 - measured))
        low = min(low, float(expit(logit(value) - scaled)))
        high = max(high, float(expit(logit(value) + scaled)))
    return low, high


def _auc_score_interval(value: float, bound: float, ranked: tuple[tuple[int, int], ...]) -> tuple[float, float]:
    def distance(auc: float) -> float:
        return abs(value - auc) - bound * _hanley_mcneil_error(auc, ranked)

    return _end(distance, value, 0.0), _end(distance, value, 1.0)


def _end(distance: Callable[[float], float], start: float, edge: float) -> float:
    """Return where the distance is 0 between start and edge, the edge if it is not reached."""
    inside, outside = start, edge
    if distance(edge) < 0:
        return edge
    for _ in range(60):
        middle = (inside + outside) / 2
        if distance(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside


def _hanley_mcneil_error(auc: float, ranked: tuple[tuple[int, int], ...]) -> float:
    """Return the standard error of the mean of the AUCs of several classes if each is ``auc``.

    Newcombe's form takes the mean of the numbers of both classes, less 1, for each.
    """
    spread = auc * (1 - auc)
    total = 0.0
    for positives, negatives in ranked:
        more = (positives + negatives) / 2 - 1
        variance = spread * (1 + more * (1 - auc) / (2 - auc) + more * auc / (1 + auc)) / (positives * negatives)
        total += variance
    # Classes share images, so that their AUCs err together at worst.
    return math.sqrt(total / len(ranked)) if len(ranked) > 1 else math.sqrt(total)
