"""Metrics of a bundle on labelled pictures, each with its interval, and two bundles against each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from study.analysis.statistics.contrast import LEVEL, Contrast
from study.analysis.statistics.influence import Influence, influence
from study.analysis.statistics.intervals import fraction_interval
from study.analysis.verdict import Comparison, compare_runs
from study.figures.curves import calibrate, confusion

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval; NaN ends where none is known.

    ``hits`` of ``images`` are what a fraction was counted from.
    """

    name: str
    value: float
    low: float
    high: float
    hits: int | None = None
    images: int | None = None


@dataclass(frozen=True)
class Scored:
    """Predictions of labelled pictures: probabilities [N, K], predicted classes [N] and true ones [N].

    ``groups`` [N] are equal for pictures that belong together; None where each stands for itself.
    """

    probabilities: Floats
    predicted: Ints
    labels: Ints
    classes: tuple[str, ...]
    groups: Ints | None = None

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N], whether the predicted class is the true one."""
        right: NDArray[np.bool_] = self.predicted == self.labels
        return right

    @property
    def confusion(self) -> Ints:
        """[K, K], how many pictures of each true class (row) were given each class."""
        return confusion(self.predicted, self.labels, len(self.classes))

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes without a picture."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return tuple(name for name, count in zip(self.classes, counts, strict=True) if not count)

    @property
    def decisions(self) -> Floats:
        """[N] or [N, K] as the analysis takes them: 1 for the predicted class, else 0."""
        if len(self.classes) == 2:
            return self.predicted.astype(np.float64)
        return np.eye(len(self.classes))[self.predicted]

    @property
    def scores(self) -> Floats:
        """[N] of the positive class, or [N, K]."""
        return self.probabilities[:, 1] if len(self.classes) == 2 else self.probabilities


def estimates(scored: Scored) -> list[Estimate]:
    """Return the metrics that the pictures admit.

    Accuracy, recall and precision are fractions, whose intervals are exact, with groups by the effective number of
    pictures. Precision, the AUC and means over classes need pictures of every class. There is at least one picture.
    """
    right = scored.right
    rows = [_fraction("accuracy", scored, np.ones(len(right), np.bool_))]
    if not scored.missing:
        rows.append(_by_images("macro_recall", scored, decided=True))
        rows.append(_by_images("auc", scored, decided=False))
        rows.append(_by_images("macro_f1", scored, decided=True))
    for k, name in enumerate(scored.classes):
        present, called = scored.labels == k, scored.predicted == k
        if present.any():
            rows.append(_fraction(f"recall.{name}", scored, present))
        if called.any() and not scored.missing:
            rows.append(_fraction(f"precision.{name}", scored, called))
    rows.append(_by_images("loss", scored, decided=False))
    likeliest = scored.probabilities.argmax(axis=1)  # whatever the threshold, as in val_ece
    error = calibrate(scored.probabilities.max(axis=1), likeliest == scored.labels).error
    rows.append(Estimate("ece", error, math.nan, math.nan))
    return rows


def _fraction(name: str, scored: Scored, counted: NDArray[np.bool_]) -> Estimate:
    """Return how many of the counted pictures are right."""
    right = scored.right[counted]
    hits, images = int(right.sum()), len(right)
    trials = float(images) if scored.groups is None else effective_pictures(right, scored.groups[counted])
    low, high = fraction_interval(hits / images * trials, trials)
    return Estimate(name, hits / images, low, high, hits, images)


def effective_pictures(right: NDArray[np.bool_], groups: Ints) -> float:
    """Return how many independent pictures would tell a fraction as well as these; 0 where one group holds all.

    Args:
        right: [N], what is counted.
        groups: [N], equal for pictures that belong together.

    Source: Korn & Graubard 1998, with the variance of the ratio between groups; where all are right, or none, a group
        counts as one picture.
    """
    _, of_group = np.unique(groups, return_inverse=True)
    sizes, images = np.bincount(of_group), len(right)
    count = len(sizes)
    if count < 2:
        return 0.0
    if count == images:
        return float(images)
    share = right.mean()
    if share in (0, 1):
        return float(count)
    residuals = np.bincount(of_group, weights=right) - share * sizes
    variance = count / (count - 1) * float((residuals**2).sum()) / images**2
    trials = share * (1 - share) / variance if variance > 0 else math.inf
    fewer = (stdtrit(images - 1, 1 - LEVEL / 2) / stdtrit(count - 1, 1 - LEVEL / 2)) ** 2
    return float(min(trials * fewer, images))


def _by_images(metric: str, scored: Scored, *, decided: bool) -> Estimate:
    """Return a metric with the interval by its influence function."""
    comparison = _comparison(metric, [scored], decided=decided)
    value = float(comparison.mode * comparison.runs.means[0])
    low, high = comparison.interval(0, value, float(comparison.half_widths()[0]))
    return Estimate(metric, value, min(low, value), max(high, value))


def _comparison(metric: str, scored: Sequence[Scored], *, decided: bool) -> Comparison:
    scores = np.stack([each.decisions if decided else each.scores for each in scored])
    groups = scored[0].groups
    values: Influence = influence(metric, scores, scored[0].labels, groups, scored[0].classes)
    if groups is not None and values.known:
        share = min(effective_pictures(each.right, groups) for each in scored) / len(groups)
        values = _counted_by_groups(values, share)
    return compare_runs(metric, values, np.arange(len(scored)), np.zeros(len(scored), np.int64))


def _counted_by_groups(values: Influence, share: float) -> Influence:
    """Return an influence whose pictures count for this share of what they would count by themselves."""
    ranked = tuple((max(1, round(one * share)), max(1, round(others * share))) for one, others in values.ranked)
    return replace(values, trials=values.trials * share, ranked=ranked)


@dataclass(frozen=True)
class PairedDifference:
    """The first bundle less the second on the same pictures; ``only_*`` count pictures that one alone got right."""

    name: str
    first: float
    second: float
    difference: Contrast
    only_first: int | None = None
    only_second: int | None = None


def compare(first: Scored, second: Scored) -> list[PairedDifference]:
    """Compare two bundles on the same pictures.

    Accuracy and recall by McNemar's test in its mid-p form with the interval of Bonett and Price, the AUC by DeLong;
    with groups all of them by how the groups differ.

    Args:
        first: its labels and classes are those of the second.
        second: the other bundle.
    """
    rows = [_difference("accuracy", first, second, np.ones(len(first.labels), np.bool_))]
    for k, name in enumerate(first.classes):
        if (of_class := first.labels == k).any() and not of_class.all():
            rows.append(_difference(f"recall:{name}", first, second, of_class))
    if not first.missing:
        rows.append(_difference("auc", first, second, None))
    return rows


def verdict(rows: Sequence[PairedDifference], first: str, second: str) -> str:
    """Return in words which of two bundles is right more often, by the row of the accuracy."""
    accuracy = next(row for row in rows if row.name == "accuracy")
    counts = f"{accuracy.only_first} pictures are right by {first} alone, {accuracy.only_second} by {second} alone"
    if not accuracy.difference.is_certain:
        return f"undecided: {counts} (p {accuracy.difference.p:.3g})"
    better = first if accuracy.difference.value > 0 else second
    return f"{better}, certainly: {counts} (p {accuracy.difference.p:.3g})"


def _difference(metric: str, first: Scored, second: Scored, counted: NDArray[np.bool_] | None) -> PairedDifference:
    comparison = _comparison(metric, [first, second], decided=counted is not None)
    values, difference = comparison.runs.means, comparison.to_others(0, [1])[0]
    name = metric.replace(":", ".", 1)
    if counted is None:
        return PairedDifference(name, float(values[0]), float(values[1]), difference)
    only_first = int((first.right & ~second.right & counted).sum())
    only_second = int((second.right & ~first.right & counted).sum())
    return PairedDifference(name, float(values[0]), float(values[1]), difference, only_first, only_second)


def reorder(probabilities: Floats, own: Sequence[str], wanted: Sequence[str]) -> Floats:
    """Return probabilities [N, K] with their columns in another order of the same classes."""
    return probabilities[:, [list(own).index(name) for name in wanted]]
