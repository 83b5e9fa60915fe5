"""Score binary predictions; pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]


def roc_auc(scores: Floats, labels: Labels) -> float:
    """Compute the area under the ROC curve; tied scores count one half.

    Args:
        scores: [N], higher means more positive; finite.
        labels: [N], 0 or 1; both present.

    Raises:
        ValueError: a class is missing.

    Source: the Mann-Whitney form, Hanley & McNeil 1982.
    """
    positive = labels == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        raise ValueError(f"both classes must be present, but got ({positives=}, {negatives=})")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    midrank = last - (count - 1) / 2  # ranks count from 1; ties share their mean
    rank_sum = float(midrank[place][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def accuracy(scores: Floats, labels: Labels, threshold: float = 0.5) -> float:
    """Compute the fraction classified right; a score equal to the threshold is negative."""
    return float(np.mean((scores > threshold) == (labels == 1)))


def f1(scores: Floats, labels: Labels, threshold: float = 0.5) -> float:
    """Compute F1 of the positive class; 0 when nothing is, or is called, positive."""
    called, positive = scores > threshold, labels == 1
    hits = int((called & positive).sum())
    total = int(called.sum()) + int(positive.sum())
    return 2 * hits / total if total else 0.0


def log_loss(logits: Floats, labels: Labels) -> float:
    """Compute the mean binary cross-entropy in nats from logits, without overflow."""
    logits = logits.astype(np.float64)
    return float(np.mean(np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))))


def sigmoid(logits: Floats) -> NDArray[np.float64]:
    """Turn logits into scores in [0, 1], without overflow."""
    logits = logits.astype(np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
