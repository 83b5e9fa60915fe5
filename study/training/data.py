"""What a trial learns from and is judged on, as plain arrays; imports no torch, so that a driver can make one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainingData:
    """What a trial learns from and is judged on.

    Attributes:
        train_images: uint8 [N, S, S, 3], RGB.
        train_labels: int64 [N], 0 or 1.
        val_images: uint8 [M, S, S, 3], RGB.
        val_labels: int64 [M], 0 or 1.
        classes: names of the labels 0 and 1.
        fingerprint: hash of the whole data set.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    val_images: NDArray[np.uint8]
    val_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
