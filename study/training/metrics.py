"""Metrics of predictions of two or more classes; pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from study.metric_catalog import CALIBRATION_BINS, metric_slug

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


def evaluate(logits: Floats, labels: Labels, classes: Sequence[str]) -> dict[str, float]:
    """Return every metric of some images, by its name in ``study.metric_catalog.EVALUATED``.

    Besides those, ``precision.<class>``, ``recall.<class>`` and ``f1.<class>``, 0 where they are undefined.
    The predicted class is the likeliest, of equals the first: a score of 0.5 is negative. Macro averages are
    scikit-learn's with zero_division=0: over the classes that are present or predicted, so ``macro_recall`` is the
    balanced accuracy where every class is present. ``auc`` and ``threshold`` are left out where a class is missing.

    Args:
        logits: [M] of the second of two classes, or [M, K]; finite, M > 0.
        labels: [M], in [0, K).
        classes: K names.

    Raises:
        ValueError: shapes or labels do not fit, or two class names look the same in a metric name.

    Source: the calibration error is Guo et al. 2017, equation 3, with 15 bins of equal width.
    """
    slugs = _slugs(classes)
    _check(logits, labels, len(classes))
    if logits.ndim == 2 and len(classes) == 2:
        logits = logits[:, 1].astype(np.float64) - logits[:, 0]  # [M, 2] -> [M], the same softmax
    labels = labels.astype(np.int64)
    scores = probabilities(logits)
    predicted = (scores > 0.5).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    confidence = np.maximum(scores, 1 - scores) if scores.ndim == 1 else scores.max(axis=1)
    return {
        "loss": _cross_entropy(logits, labels),
        "accuracy": float(np.mean(predicted == labels)),
        **_ranking_metrics(scores, labels, len(classes)),
        **_confusion_metrics(predicted, labels, slugs),
        "ece": calibration_error(confidence, predicted == labels),
    }


def _slugs(classes: Sequence[str]) -> list[str]:
    slugs = [metric_slug(name) for name in classes]
    for at, slug in enumerate(slugs):
        first = slugs.index(slug)
        if first != at:
            raise ValueError(
                f"class names must differ in metric names, but `{classes[first]}` and `{classes[at]}` are both "
                f"`{slug}` there; rename one of them"
            )
    return slugs


def _check(logits: Floats, labels: Labels, classes: int) -> None:
    fits = (logits.ndim == 1 and classes == 2) or (logits.ndim == 2 and logits.shape[1] == classes >= 2)
    if not fits or labels.shape != logits.shape[:1] or not len(labels):
        shapes = f"logits {list(logits.shape)}, labels {list(labels.shape)} and {classes} classes"
        raise ValueError(f"logits must be [M, K], or [M] of two classes, beside M > 0 labels, but got {shapes}")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must be in [0, {classes}), but got {labels.min()} to {labels.max()}")


def _cross_entropy(logits: Floats, labels: Labels) -> float:
    if logits.ndim == 1:
        return log_loss(logits, labels)
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]  # [M, K] -> [M]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - own))


def _ranking_metrics(scores: Floats, labels: Labels, classes: int) -> dict[str, float]:
    """Return the metrics that need every class to be present: none where one is missing."""
    if np.bincount(labels, minlength=classes).min() == 0:
        return {}
    if scores.ndim == 1:
        return {"auc": roc_auc(scores, labels), "threshold": best_threshold(scores, labels)}
    by_class = [roc_auc(scores[:, k], (labels == k).astype(np.int64)) for k in range(classes)]
    return {"auc": float(np.mean(by_class))}


def _confusion_metrics(predicted: Labels, labels: Labels, slugs: Sequence[str]) -> dict[str, float]:
    """Return the metrics of the confusion matrix."""
    size = len(slugs)
    confusion = np.bincount(labels * size + predicted, minlength=size * size).reshape(size, size)  # [true, predicted]
    hits, present, called = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    by_class = {
        "precision": hits / np.maximum(called, 1),
        "recall": hits / np.maximum(present, 1),
        "f1": 2 * hits / np.maximum(present + called, 1),
    }
    seen = present + called > 0
    results = {f"macro_{name}": float(values[seen].mean()) for name, values in by_class.items()}
    results["f1"] = float(by_class["f1"][1]) if size == 2 else results["macro_f1"]
    for name, values in by_class.items():
        results |= {f"{name}.{slug}": float(value) for slug, value in zip(slugs, values, strict=True)}
    return results


def probabilities(logits: Floats) -> NDArray[np.float64]:
    """Return the sigmoid of logits [M] or the softmax of logits [M, K], without overflow."""
    if logits.ndim == 1:
        return sigmoid(logits)
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scores


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Compute the expected calibration error.

    Args:
        confidence: [M], the probability of the predicted class, in [0, 1]; a bin includes its upper end.
        right: [M], whether it is the true class.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    gap = np.bincount(place, weights=right - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def best_threshold(scores: Floats, labels: Labels) -> float:
    """Return the threshold with the best balanced accuracy, a score above it being positive.

    Candidates are the midpoints between neighbouring scores, with 0 and 1 as the outermost neighbours; of equals
    the one nearest to 0.5, then the lower.

    Args:
        scores: [M], in [0, 1].
        labels: [M], 0 or 1; both present.
    """
    values, positive, negative = _count_by_score(scores, labels)
    lower, upper = np.append(0.0, values), np.append(values, 1.0)
    middle = (lower + upper) / 2
    middle = np.where(middle < upper, middle, lower)  # between neighbouring floats the middle may round up
    rejected = np.append(0, np.cumsum(negative))  # [U + 1], negatives at or below each candidate
    accepted = positive.sum() - np.append(0, np.cumsum(positive))
    # recall + specificity times positives times negatives: whole numbers, so that equals are equal
    gain = accepted * negative.sum() + rejected * positive.sum()
    if values[0] == 0:
        gain[0] = -1  # nothing below 0 to put a threshold at
    best = middle[gain == gain.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _count_by_score(scores: Floats, labels: Labels) -> tuple[Floats, Labels, Labels]:
    """Return the distinct scores [U] in order, and how many positives and negatives have each."""
    values, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place[labels == 1], minlength=len(values))
    return values, positive, np.bincount(place, minlength=len(values)) - positive


def roc_auc(scores: Floats, labels: Labels) -> float:
    """Compute the area under the ROC curve; tied scores count one half.

    Args:
        scores: [M], higher means more positive; finite.
        labels: [M], 0 or 1; both present.

    Raises:
        ValueError: a class is missing.

    Source: the Mann-Whitney form, Hanley & McNeil 1982.
    """
    _, positive, negative = _count_by_score(scores, labels)
    positives, negatives = int(positive.sum()), int(negative.sum())
    if positives == 0 or negatives == 0:
        raise ValueError(f"both classes must be present, but got ({positives=}, {negatives=})")
    twice_below = 2 * np.cumsum(negative) - negative  # ties count one half
    return int(positive @ twice_below) / (2 * positives * negatives)


def log_loss(logits: Floats, labels: Labels) -> float:
    """Compute the mean binary cross-entropy in nats from logits, without overflow."""
    logits = logits.astype(np.float64)
    return float(np.mean(np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))))


def sigmoid(logits: Floats) -> NDArray[np.float64]:
    """Return the sigmoid, without overflow."""
    logits = logits.astype(np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
