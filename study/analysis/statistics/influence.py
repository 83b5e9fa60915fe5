"""Values of a metric and what each image, or group of images, contributes to their error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from study.metric_catalog import CALIBRATION_BINS, EVALUATED

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOWER_IS_BETTER = frozenset(name for name, metric in EVALUATED.items() if metric.mode == "min")
JUDGED_METRICS = (
    "auc", "accuracy", "loss", "ece", "f1", "precision", "recall", "macro_auc", "macro_f1", "macro_precision",
    "macro_recall",
)  # fmt: skip
"""Metrics whose error is known, so that predictions can be judged by them; those of EVALUATED and some more."""
OF_CLASS = ("auc", "f1", "precision", "recall")
_LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Influence:
    """A metric of several runs on the same images.

    Attributes:
        values: [runs], the metric.
        units: [runs, groups], the jackknife influence of each group (each image without groups); the covariance of
            two runs' values that the choice of images causes is the dot product of their rows.
        trials: [runs], how many yes-or-no trials would blur a fraction as much; infinite for the loss.
        outcomes: [runs, M], whether each of M images was right, where the metric is a fraction of the same images in
            every run and there are no groups.
        ranked: how many images the AUCs compare with how many others, for each class that is averaged.
        known: whether the images suffice to estimate an error; False where one group holds all of a class.
    """

    values: Floats
    units: Floats
    trials: Floats
    outcomes: NDArray[np.bool_] | None = None
    ranked: tuple[tuple[int, int], ...] = ()
    known: bool = True


def split_metric(metric: str) -> tuple[str, str | None]:
    """Return the kind of a metric and the class that it is about, None for all.

    Raises:
        ValueError: there is no such metric.
    """
    kind, colon, of_class = metric.partition(":")
    if (colon and kind in OF_CLASS and of_class) or (not colon and kind in JUDGED_METRICS):
        return kind, of_class or None
    known = ", ".join((*JUDGED_METRICS, *(f"{kind}:CLASS" for kind in OF_CLASS)))
    raise ValueError(f"metric must be one of {known}, got `{metric}`")


def influence(
    metric: str,
    scores: Floats,
    labels: Ints,
    groups: NDArray[np.generic] | None = None,
    classes: Sequence[str] | None = None,
) -> Influence:
    """Compute a metric of several runs and the influence of each image on it.

    Of binary scores those above 0.5 mean class 1, of several classes the likeliest, of equals the first. Fractions
    without any image are 0, and macro averages are taken over the classes present or predicted, as scikit-learn does.

    Args:
        metric: one of JUDGED_METRICS, or ``recall:1`` and the like for one class against the rest.
        scores: [runs, images], the probability of class 1, or [runs, images, classes]; for the AUC any order.
        labels: [images], in [0, classes).
        groups: [images], equal for images that belong together, such as those of one person.
        classes: names of the classes; default: their indices.

    Raises:
        ValueError: there is no such metric or class, or the AUC lacks a class.

    Source: AUC by placements, DeLong et al. 1988 in the O(n log n) form of Sun & Xu 2014; the calibration error by
        deleting each group; everything else is a ratio of sums, whose exact delete-one-group jackknife is
        (a_g - value * b_g) / (b - b_g).
    """
    kind, of_class = split_metric(metric)
    size = 2 if scores.ndim == 2 else scores.shape[2]
    names = list(classes) if classes is not None else [str(each) for each in range(size)]
    if of_class is not None and of_class not in names:
        raise ValueError(f"the class of a metric must be one of {', '.join(names)}, got `{metric}`")
    sums = _GroupSums(groups, len(labels))
    chosen = None if of_class is None else names.index(of_class)
    if kind in ("auc", "macro_auc"):
        return _auc(scores, labels, sums, chosen, names)
    if kind == "loss":
        return _ratio(sums, _losses(scores, labels), np.ones(scores.shape[:2]), endless=True)
    if kind == "ece":
        return _calibration(scores, labels, sums)
    predicted = (scores > 0.5).astype(np.int64) if scores.ndim == 2 else scores.argmax(axis=2)  # -> [runs, images]
    if kind == "accuracy":
        right = predicted == labels
        result = _ratio(sums, right.astype(float), np.ones(right.shape))
        return result if sums.is_grouped else _with_outcomes(result, right)
    kind, is_macro = kind.removeprefix("macro_"), kind.startswith("macro_")
    if chosen is None and size == 2 and not is_macro:
        chosen = 1
    if chosen is None:
        return _macro([_of_class(kind, predicted, labels, k, sums) for k in range(size)], predicted, labels)
    result = _of_class(kind, predicted, labels, chosen, sums)
    if kind == "recall" and not sums.is_grouped:
        return _with_outcomes(result, (predicted == chosen)[:, labels == chosen])
    return result


class _GroupSums:
    """Sums of columns by group."""

    def __init__(self, groups: NDArray[np.generic] | None, images: int) -> None:
        self.is_grouped = groups is not None
        if groups is not None:
            self._order = np.argsort(groups, kind="stable")
            ordered = groups[self._order]
            self._starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
            self.is_grouped = len(self._starts) < images

    def __call__(self, columns: Floats) -> Floats:
        """Return [..., groups] of [..., images]."""
        if not self.is_grouped:
            return columns
        sums: Floats = np.add.reduceat(columns[..., self._order], self._starts, axis=-1)
        return sums


def _ratio(sums: _GroupSums, above: Floats, below: Floats, *, endless: bool = False) -> Influence:
    """Return the ratio of two sums over images, 0 where there is nothing to divide by."""
    total = below.sum(axis=1)
    values = above.sum(axis=1) / np.where(total > 0, total, 1)
    share = sums(below)
    rest = total[:, None] - share
    units = sums(above) - values[:, None] * share
    known = bool(np.all((rest > 0) | (total[:, None] == 0)))
    units /= np.where(rest > 0, rest, 1)
    counted = np.maximum((share > 0).sum(axis=1), 1)
    units *= np.sqrt((counted - 1) / counted)[:, None]
    return Influence(values, units, np.full(len(values), math.inf) if endless else total, known=known)


def _with_outcomes(result: Influence, right: NDArray[np.bool_]) -> Influence:
    return replace(result, outcomes=right)


def _of_class(kind: str, predicted: Ints, labels: Ints, k: int, sums: _GroupSums) -> Influence:
    called, present = predicted == k, np.broadcast_to(labels == k, predicted.shape)
    hit = (called & present).astype(float)
    below: dict[str, Callable[[], Floats]] = {
        "precision": lambda: called.astype(float),
        "recall": lambda: present.astype(float),
        "f1": lambda: (called.astype(float) + present) / 2,
    }
    result = _ratio(sums, hit, below[kind]())
    # An image that counts half blurs F1 half as much as one that counts whole.
    return replace(result, trials=2 * result.trials) if kind == "f1" else result


def _macro(by_class: Sequence[Influence], predicted: Ints, labels: Ints) -> Influence:
    """Return the mean over the classes that are present or predicted, which may differ between runs."""
    seen = np.array([(predicted == k).any(axis=1) | (labels == k).any() for k in range(len(by_class))])
    weights = seen / seen.sum(axis=0)  # [classes, runs]
    values = sum(weight * each.values for weight, each in zip(weights, by_class, strict=True))
    units = sum(weight[:, None] * each.units for weight, each in zip(weights, by_class, strict=True))
    blur = sum(weight**2 / np.maximum(each.trials, 1) for weight, each in zip(weights, by_class, strict=True))
    known = all(each.known for each in by_class)
    return Influence(np.asarray(values), np.asarray(units), 1 / np.asarray(blur), known=known)


def _losses(scores: Floats, labels: Ints) -> Floats:
    """Return [runs, images], the cross-entropy of each image in nats."""
    if scores.ndim == 2:
        own = np.where(labels == 1, scores, 1 - scores)
    else:
        own = np.take_along_axis(scores, labels[None, :, None], axis=2)[:, :, 0]
    losses: Floats = -np.log(np.maximum(own, _LEAST_PROBABILITY))
    return losses


def _calibration(scores: Floats, labels: Ints, sums: _GroupSums) -> Influence:
    """Return the expected calibration error and the jackknife of its groups.

    It grows with the gap of a bin whichever sign that has, so that the jackknife overstates the error of
    configurations that are nearly calibrated: their gaps are as often above 0 as below.
    """
    binary = scores.ndim == 2
    confidence = np.maximum(scores, 1 - scores) if binary else scores.max(axis=2)  # -> [runs, images]
    right = ((scores > 0.5) if binary else scores.argmax(axis=2)) == labels
    places = np.searchsorted(np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1], confidence, side="left")
    gaps = right - confidence
    values, sizes = np.empty(len(scores)), sums(np.ones((1, len(labels))))[0]
    units = np.empty((len(scores), len(sizes)))
    rest = len(labels) - sizes
    for run, (gap, place) in enumerate(zip(gaps, places, strict=True)):
        by_bin = np.bincount(place, weights=gap, minlength=CALIBRATION_BINS)
        values[run] = np.abs(by_bin).sum() / len(labels)
        shares = sums(np.where(place == np.arange(CALIBRATION_BINS)[:, None], gap, 0.0))  # [bins, groups]
        left = np.abs(by_bin[:, None] - shares).sum(axis=0) / np.maximum(rest, 1)
        units[run] = left.mean() - left
    units *= math.sqrt((len(sizes) - 1) / len(sizes))
    return Influence(values, units, np.full(len(values), float(len(labels))), known=bool(rest.min() > 0))


def _auc(scores: Floats, labels: Ints, sums: _GroupSums, chosen: int | None, names: Sequence[str]) -> Influence:
    size = len(names)
    counts = np.bincount(labels, minlength=size)
    needed = range(size) if chosen is None else [chosen]
    for k in needed:
        if not 0 < counts[k] < len(labels):
            raise ValueError(
                f"the AUC needs images of every class and of others, but {counts[k]} of {len(labels)} are of class "
                f"`{names[k]}`; judge by accuracy or loss, or add images"
            )
    if scores.ndim == 2:
        k = 1 if chosen is None else chosen
        return _binary_auc(scores if k == 1 else -scores, labels == k, sums)
    parts = [_binary_auc(scores[:, :, k], labels == k, sums) for k in needed]
    return Influence(
        np.mean([part.values for part in parts], axis=0), np.mean([part.units for part in parts], axis=0),
        1 / np.mean([1 / part.trials for part in parts], axis=0), ranked=tuple(part.ranked[0] for part in parts),
        known=all(part.known for part in parts),
    )  # fmt: skip


def _binary_auc(scores: Floats, positive: NDArray[np.bool_], sums: _GroupSums) -> Influence:
    positives, negatives = int(positive.sum()), int((~positive).sum())
    placed = np.empty(scores.shape)
    for run, row in enumerate(scores):
        placed[run, positive], placed[run, ~positive] = _placements(row[positive], row[~positive])
    values = placed[:, positive].mean(axis=1)
    units, known = np.zeros(1), True
    for is_class, count in ((positive, positives), (~positive, negatives)):
        share = sums(is_class.astype(float))
        rest = count - share
        known &= bool(rest.min() > 0)
        present = int((share > 0).sum())
        part = sums(np.where(is_class, placed - values[:, None], 0.0)) / np.maximum(rest, 1)
        units = units + part * math.sqrt((present - 1) / present)
    fewer = min(positives, negatives)
    return Influence(values, units, np.full(len(values), float(fewer)), ranked=((positives, negatives),), known=known)


def _placements(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return the fraction of negatives below each positive and of positives above each negative; ties count half."""
    by_positive, by_negative = np.argsort(positive), np.argsort(negative)
    ups, downs = positive[by_positive], negative[by_negative]
    below = np.searchsorted(downs, ups, "left") + np.searchsorted(downs, ups, "right")
    not_above = np.searchsorted(ups, downs, "left") + np.searchsorted(ups, downs, "right")
    of_positive, of_negative = np.empty(len(positive)), np.empty(len(negative))
    of_positive[by_positive] = below / (2 * len(negative))
    of_negative[by_negative] = 1 - not_above / (2 * len(positive))
    return of_positive, of_negative
