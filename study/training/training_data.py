"""The images that trials get, as arrays; imports no torch, because the driver makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STATISTICS_BLOCK = 256


@dataclass(frozen=True)
class LabelledImages:
    """Images, uint8 RGB [N, S, S, 3], and labels, int64 [N], indices into the class names.

    ``ids`` and ``groups`` are those of TrainingData's validation images.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class TrainingData:
    """The training and validation images of a trial, and its shifted sets.

    Attributes:
        train_images: uint8 [N, S, S, 3], RGB.
        train_labels: int64 [N], in [0, K).
        val_images: uint8 [M, S, S, 3], RGB.
        val_labels: int64 [M], in [0, K).
        classes: names of the K labels; with two, label 1 is the positive class.
        fingerprint: hash of the whole data set.
        shifted: further image sets by name, on which a trial's selected checkpoint is evaluated.
        mean: of the training pixels divided by 255, per channel, for ``normalization: dataset``.
        std: likewise.
        resize: how images were made square: crop, stretch or pad.
        framing: how faces lie in the images, as a checkpoint's card says it; None where that is unknown.
        val_ids: int64 [M], tells validation images apart, to compare runs image by image; None where unknown.
        val_groups: int64 [M], equal for validation images that belong together; None for none.
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
    val_ids: NDArray[np.int64] | None = None
    val_groups: NDArray[np.int64] | None = None
    framing: Mapping[str, object] | None = None

    @property
    def outputs(self) -> int:
        """Number of logits: 1 for two classes, else one per class."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def class_counts(self) -> list[int]:
        """Number of training images of each class: [K]."""
        return [int(count) for count in np.bincount(self.train_labels, minlength=len(self.classes))]


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Compute mean and standard deviation of each channel, of pixels divided by 255; exact, from histograms.

    Args:
        images: [N, S, S, 3].

    Returns:
        (mean, std); a channel that never varies has standard deviation 1, to divide by.
    """
    values = np.arange(256) / 255
    statistics = []
    for channel in range(3):
        shares = np.zeros(256)
        for start in range(0, len(images), STATISTICS_BLOCK):
            block = images[start : start + STATISTICS_BLOCK, :, :, channel]
            shares += np.bincount(block.ravel(), minlength=256)
        shares /= shares.sum()
        mean = float(shares @ values)
        statistics.append((mean, float(np.sqrt(shares @ (values - mean) ** 2)) or 1.0))
    (red, red_std), (green, green_std), (blue, blue_std) = statistics
    return (red, green, blue), (red_std, green_std, blue_std)
