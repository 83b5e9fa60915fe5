"""What a trial learns from and is judged on, as plain arrays; imports no torch, so that a driver can make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


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
