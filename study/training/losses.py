"""Losses: one function and one registry line each, and the criterion that weights them by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from study.config.hyperparameters import Hyperparameters

Modulate = Callable[[torch.Tensor, Hyperparameters], torch.Tensor]


def cross_entropy(log_probabilities: torch.Tensor, config: Hyperparameters) -> torch.Tensor:
    """Return the log-probabilities unchanged: [B, K]."""
    return log_probabilities


def focal(log_probabilities: torch.Tensor, config: Hyperparameters) -> torch.Tensor:
    """Weight log-probabilities by (1 - p)^focal_gamma, so that easy images count less: [B, K] (Lin et al. 2017)."""
    # At exactly 0 the power's derivative is infinite for focal_gamma < 1, and infinity times 0 is not a number.
    others = (-log_probabilities.expm1()).clamp(min=torch.finfo(log_probabilities.dtype).tiny)  # 1 - p
    return log_probabilities * others**config.focal_gamma


LOSSES: dict[str, Modulate] = {"cross_entropy": cross_entropy, "focal": focal}


class Criterion:
    """The loss of one trial, with its class weights and label smoothing."""

    def __init__(self, config: Hyperparameters, class_counts: Sequence[int], device: torch.device) -> None:
        self._config = config
        self._classes = len(class_counts)
        weights = [1.0] * self._classes if config.class_weights == "none" else balanced_weights(class_counts)
        self._weights = torch.tensor(weights, device=device)

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch, in nats, weighted by the classes' weights.

        Args:
            logits: [B] for two classes, else [B, K]; float32.
            targets: [B, K], class probabilities that sum to 1.

        Returns:
            The sum over images and classes of w * t * loss, divided by that of w * t, with t smoothed. torch's weighted
            cross-entropy divides by the unsmoothed w * t of labels instead, and by B for soft targets.
        """
        smoothing = self._config.label_smoothing
        targets = targets * (1 - smoothing) + smoothing / self._classes  # Szegedy et al. 2016
        weighted = self._weights * targets  # [B, K]
        losses = -LOSSES[self._config.loss](log_probabilities(logits), self._config)
        return (weighted * losses).sum() / weighted.sum()


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Convert logits [B] of the positive class, or [B, K], to log-probabilities [B, K]."""
    if logits.ndim == 1:
        return torch.stack([functional.logsigmoid(-logits), functional.logsigmoid(logits)], 1)  # [B] -> [B, 2]
    return functional.log_softmax(logits, 1)


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Return N / (K * n) for each class, so that every class has the same weight: [K] (King & Zeng 2001)."""
    total, classes = sum(class_counts), len(class_counts)
    return [total / (classes * count) for count in class_counts]
