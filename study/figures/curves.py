"""The curves and counts behind the figures of a trial; pure numpy."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.metric_catalog import CALIBRATION_BINS

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
MAX_POINTS = 500
INVISIBLE = 5e-4  # of the axis: a quarter of a pixel of a 500 px plot
_LEAST_SCORE = 1e-300


@dataclass(frozen=True)
class Curve:
    """A curve in the unit square and the area under it; ``x`` and ``y`` are [P], ``x`` never decreases."""

    x: Floats
    y: Floats
    area: float


@dataclass(frozen=True)
class Calibration:
    """Reliability per bin of equal width, all [bins]; an empty bin has NaN means.

    ``error`` is the expected calibration error: the mean distance of ``share`` and ``score``, weighted by ``counts``.
    """

    score: Floats
    share: Floats
    counts: Labels
    error: float


def class_scores(scores: Floats) -> Floats:
    """Return [M, K] scores of scores [M] of the positive class, or of [M, K] as they are."""
    return np.stack([1 - scores, scores], axis=1) if scores.ndim == 1 else scores


def roc(scores: Floats, positive: NDArray[np.bool_]) -> Curve | None:
    """Compute the ROC curve and its AUC; None where only one class is present.

    Args:
        scores: [M], higher means more positive.
        positive: [M].
    """
    hits, alarms = _counts(scores, positive)
    if not hits[-1] or not alarms[-1]:
        return None
    x, y = np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
    return Curve(x, y, float(np.trapezoid(y, x)))


def precision_recall(scores: Floats, positive: NDArray[np.bool_]) -> Curve | None:
    """Compute precision (y) over recall (x) and the average precision; None without a positive.

    Args:
        scores: [M], higher means more positive.
        positive: [M].
    """
    hits, alarms = _counts(scores, positive)
    if not hits[-1]:
        return None
    precision, recall = hits / (hits + alarms), hits / hits[-1]
    average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    return Curve(np.append(0.0, recall), np.append(1.0, precision), average)


def confusion(called: Labels, labels: Labels, classes: int) -> Labels:
    """Count [true, called] pairs; both arguments are [M]."""
    counts = np.bincount(labels * classes + called, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def calibrate(scores: Floats, right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> Calibration:
    """Compare scores with how often they are right, per bin; bins include their upper edge.

    Args:
        scores: [M] in [0, 1].
        right: [M], whether the scored event is true.
        bins: number of bins of equal width.

    Source: Naeini et al. 2015, as in Guo et al. 2017, equation 3.
    """
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores)
    counts = np.bincount(index, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    score = np.bincount(index, weights=scores, minlength=bins) / filled
    share = np.bincount(index, weights=right.astype(np.float64), minlength=bins) / filled
    error = float(np.nansum(np.abs(score - share) * counts) / max(1, len(scores)))
    return Calibration(score, share, counts.astype(np.int64), error)


def most_wrong(scores: Floats, labels: Labels, count: int) -> Labels:
    """Return the indices of the highest losses, the highest first; ties keep their order.

    Args:
        scores: [M, K].
        labels: [M].
        count: the most to return.
    """
    own = scores[np.arange(len(labels)), labels]  # [M, K] -> [M]
    loss = -np.log(np.maximum(own, _LEAST_SCORE))
    return np.argsort(-loss, kind="stable")[:count].astype(np.int64)


def thin(x: Floats, y: Floats, limit: int = MAX_POINTS, tolerance: float = INVISIBLE) -> Labels:
    """Return the indices of at most ``limit`` points that look like the whole curve.

    Args:
        x: [P], finite, never decreasing.
        y: [P], finite.
        limit: at least 2.
        tolerance: invisible distance, as a fraction of the two axes' spans.

    Source: Douglas & Peucker 1973, the farthest point first.
    """
    if len(x) <= 2:
        return np.arange(len(x))
    points = np.stack([_unit(x), _unit(y)], axis=1)
    kept = {0, len(x) - 1}
    heap = [_farthest(points, 0, len(x) - 1)]
    while heap and len(kept) < limit:
        far, first, at, last = heapq.heappop(heap)
        if -far <= tolerance:
            break
        kept.add(at)
        for start, end in ((first, at), (at, last)):
            if end - start > 1:
                heapq.heappush(heap, _farthest(points, start, end))
    return np.array(sorted(kept), dtype=np.int64)


def _farthest(points: Floats, first: int, last: int) -> tuple[float, int, int, int]:
    """Return (minus distance, first, index, last) of the point farthest from the chord between two."""
    inner, start = points[first + 1 : last], points[first]
    along_x, along_y = points[last] - start
    length = np.hypot(along_x, along_y)
    away = inner - start  # [P, 2]
    # A chord of no length has no direction: there the distance between the points counts.
    far = np.abs(away[:, 0] * along_y - away[:, 1] * along_x) / length if length else np.hypot(away[:, 0], away[:, 1])
    at = int(np.argmax(far))
    return -float(far[at]), first, first + 1 + at, last


def _unit(values: Floats) -> Floats:
    low, span = float(values.min()), float(np.ptp(values))
    return (values - low) / (span or 1.0)


def _counts(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Labels, Labels]:
    """Count true and false positives at every distinct threshold, the highest first; both [T]."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[ends]
    return hits.astype(np.int64), (ends + 1 - hits).astype(np.int64)
