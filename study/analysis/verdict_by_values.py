"""The verdict without predictions: from the value of each run, and from how many images it was measured on.

The machinery is that of predictions. What images do to a value is estimated from their number, as if each configuration
had images of its own: wider than the truth, because the same images blur all of them alike. Where that number or a
formula is missing, only the seeds' part is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from study.analysis.ranking import Configuration
from study.analysis.statistics.influence import Influence
from study.analysis.statistics.variance_components import Runs, seed_spread
from study.analysis.verdict import Comparison, compare_runs
from study.config.search_config import Mode
from study.metric_catalog import bare_metric, is_of_images, shifted_set

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Basis = Literal["predictions", "counts", "values", "measurements"]
"""What a verdict rests on: stored predictions; values and the number of images; values of images without more; or
measurements such as a latency, which no choice of images blurs."""

_UNITS = 60
"""Independent parts that a synthetic error of images consists of, so many that none of them decides."""
_SMALL = 1e-4
"""The error by images that stands for one that is unknown or none, in that by seeds."""
_ROUNDING = 1e-9


def auc_standard_error(auc: float, positives: int, negatives: int) -> float:
    """Estimate the standard error of a ROC AUC from the number of images it was measured on.

    The formula gives 0 at an AUC of 1, as if few images ranked right proved it; there the AUC is taken as
    1 - 0.5 / (n + 1), with n images of the rarer class, and likewise at 0.

    Args:
        auc: in [0, 1].
        positives: images of the positive class, at least 1.
        negatives: images of the negative class, at least 1.

    Source: Hanley & McNeil 1982, equation 1, with their exponential approximation of Q1 and Q2.
    """
    edge = 0.5 / (min(positives, negatives) + 1)
    auc = min(max(auc, edge), 1 - edge)
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def proportion_standard_error(proportion: float, count: int) -> float:
    """Estimate the standard error of a fraction measured on ``count`` images.

    The Agresti-Coull form adds two successes and two failures: 100 % right on few images is not certain.
    """
    adjusted = (proportion * count + 2) / (count + 4)
    return math.sqrt(adjusted * (1 - adjusted) / (count + 4))


def standard_error(metric: str, value: float, class_counts: Sequence[int]) -> float | None:
    """Estimate the standard error of a metric from the number of images of each class, None without a formula."""
    if len(class_counts) < 2 or sum(class_counts) == 0 or not is_of_images(metric):
        return None
    bare = bare_metric(metric)
    if bare == "auc" and len(class_counts) == 2 and min(class_counts) > 0:
        return auc_standard_error(value, class_counts[1], class_counts[0])
    if bare == "accuracy":
        return proportion_standard_error(value, sum(class_counts))
    return None


def images_in_words(metric: str) -> str:
    """Return the words for the images that a metric is measured on."""
    images = shifted_set(metric)
    return "validation images" if images is None else f"images of {images}"


def compare_values(
    values: Floats, configuration: Ints, seed: Ints, metric: str, mode: Mode, class_counts: Sequence[int] = ()
) -> tuple[Comparison, Basis]:
    """Return what answers questions about configurations by the values of their runs, and what that rests on.

    Seeds that do not differ at all say nothing of their spread, so that no error is known.

    Args:
        values: [runs], of the metric.
        configuration: [runs], in [0, configurations), each with at least one run.
        seed: [runs], equal for runs that share a seed.
        metric: its name.
        mode: its better direction.
        class_counts: images of each class in the set the metric is about, empty where unknown.
    """
    size = int(configuration.max()) + 1
    means = np.bincount(configuration, weights=values) / np.bincount(configuration)
    errors = [standard_error(metric, float(mean), class_counts) for mean in means]
    basis: Basis = "counts" if None not in errors else "values" if is_of_images(metric) else "measurements"
    seeds = _seed_error(values, configuration, seed)
    by_images = np.array([_SMALL * seeds if error is None else error for error in errors])
    units = np.zeros((size, size * _UNITS))
    for k, error in enumerate(by_images):
        units[k, k * _UNITS : (k + 1) * _UNITS] = error / math.sqrt(_UNITS)
    images, is_auc = sum(class_counts), bare_metric(metric) == "auc"
    trials = math.inf
    ranked: tuple[tuple[int, int], ...] = ()
    if basis == "counts":
        trials = float(min(class_counts) if is_auc else images)
        ranked = ((class_counts[1], class_counts[0]),) if is_auc else ()
    several = np.bincount(configuration).max() > 1
    measured = Influence(
        values, units[configuration], np.full(len(values), trials), ranked=ranked,
        known=seeds > 0 if several else basis == "counts",
    )  # fmt: skip
    return compare_runs("accuracy" if mode == "max" else "loss", measured, configuration, seed), basis


def _seed_error(values: Floats, configuration: Ints, seed: Ints) -> float:
    """Return the standard deviation between seeds, 0 where there is none beyond rounding, or one seed only."""
    runs = Runs(values, np.zeros((len(values), 1)), configuration, seed)
    if runs.counts.max() == 1:
        return 0.0
    order = np.argsort(-runs.means, kind="stable").tolist()
    error = math.sqrt(float(seed_spread(runs, order, "none").total.max()))
    return error if error > _ROUNDING * float(np.abs(values).max()) else 0.0


def p_whatever_the_pairing(first: float, second: float, images: int) -> tuple[float, float]:
    """Return the least and the largest mid-p value of McNemar's test that two fractions of right answers allow.

    Args:
        first: a fraction of the images.
        second: another.
        images: how many.
    """
    right = sorted((round(first * images), round(second * images)))
    difference, most = right[1] - right[0], min(images - right[1], right[0])
    return _mid_p(0, difference), _mid_p(most, difference + 2 * most)


def _mid_p(fewer: int, decided: int) -> float:
    if 2 * fewer == decided:
        return 1.0
    below = float(bdtr(fewer - 1, decided, 0.5)) if fewer else 0.0
    return min(1.0, float(bdtr(fewer, decided, 0.5)) + below)


def mean_difference(base: Configuration, other: Configuration) -> float | None:
    """Return how much the mean of a configuration differs from that of another, over the seeds both ran."""
    values, others = other.values, base.values
    shared = [values[seed] - others[seed] for seed in values if seed in others]
    return float(np.mean(shared)) if shared else None
