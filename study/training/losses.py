"""Losses: one function and one registry line each, the criterion that weights them, and their mean over an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from study.config.hyperparameters import Hyperparameters
from study.errors import NonFiniteLossError

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


STEPS_UNREAD = 32
"""Steps whose losses are read together: to read one is to wait until a GPU has done all that it was given."""


class EpochLoss:
    """The mean of the losses of an epoch's batches, which are read some steps late."""

    def __init__(self, where: str, rate_name: str, rate: float) -> None:
        """Start an epoch; the arguments are for the message about a loss that is not finite."""
        self._where, self._rate = where, f"{rate_name} {rate:g}"
        self._sum, self._images = 0.0, 0
        self._unread: list[tuple[torch.Tensor, int, int]] = []

    def add(self, loss: torch.Tensor, start: int, stop: int) -> None:
        """Take the mean loss of the images [start, stop), a scalar on any device.

        Raises:
            NonFiniteLossError: this loss or one of the last ``STEPS_UNREAD`` is not finite.
        """
        self._unread.append((loss, start, stop))
        if len(self._unread) == STEPS_UNREAD:
            self._read()

    def mean(self) -> float:
        """Return the mean over all images.

        Raises:
            NonFiniteLossError: one of the losses is not finite.
        """
        self._read()
        return self._sum / self._images

    def _read(self) -> None:
        if not self._unread:
            return
        values = torch.stack([loss for loss, _, _ in self._unread]).tolist()
        for value, (_, start, stop) in zip(values, self._unread, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"the loss must be finite, but is {value} {self._where} after {start} images "
                    f"({self._rate}); a lower learning rate is the usual way out"
                )
            self._sum += value * (stop - start)
            self._images = stop
        self._unread.clear()
