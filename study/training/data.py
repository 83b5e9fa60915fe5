"""What a trial learns from and is judged on, as plain arrays; imports no torch, so that a driver can make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STATISTICS_BLOCK = 256


@dataclass(frozen=True)
class LabelledImages:
    """Images and what they show: uint8 RGB [N, S, S, 3] and int64 [N], places in the class names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """What a trial learns from and is judged on.

    Attributes:
        train_images: uint8 [N, S, S, 3], RGB.
        train_labels: int64 [N], in [0, K).
        val_images: uint8 [M, S, S, 3], RGB.
        val_labels: int64 [M], in [0, K).
        classes: names of the K labels; with two, label 1 is the positive class.
        fingerprint: hash of the whole data set.
        shifted: further images by name, which only score a trial's selected checkpoint.
        mean: of the training pixels divided by 255, per channel, for ``normalization: dataset``.
        std: likewise.
        resize: how pictures were made square: crop, stretch or pad.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    val_images: NDArray[np.uint8]
    val_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
    shifted: Mapping[str, LabelledImages] = field(default_factory=dict)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: str = "crop"

    @property
    def outputs(self) -> int:
        """Logits a model needs: 1 for two classes, else one per class."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class: [K]."""
        return [int(count) for count in np.bincount(self.train_labels, minlength=len(self.classes))]


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Compute mean and standard deviation of each channel, of pixels divided by 255; exact, from histograms.

    Args:
        images: [N, S, S, 3].

    Returns:
        (mean, std); a channel that never varies has standard deviation 1, to divide by.
    """
    values = np.arange(256) / 255
    found = []
    for channel in range(3):
        shares = np.zeros(256)
        for start in range(0, len(images), STATISTICS_BLOCK):
            block = images[start : start + STATISTICS_BLOCK, :, :, channel]
            shares += np.bincount(block.ravel(), minlength=256)
        shares /= shares.sum()
        mean = float(shares @ values)
        found.append((mean, float(np.sqrt(shares @ (values - mean) ** 2)) or 1.0))
    (red, red_std), (green, green_std), (blue, blue_std) = found
    return (red, green, blue), (red_std, green_std, blue_std)
