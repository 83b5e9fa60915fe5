"""Hold the images on the device as uint8; cut them into batches in a reproducible order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from study.spec import stable_seed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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


class DeviceImages:
    """Images and labels on one device; normalised to float only batch by batch."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device) -> None:
        with warnings.catch_warnings():
            # Arrays from Ray's object store are read-only; torch warns although nothing here writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._images = torch.from_numpy(images).to(device)
            self._labels = torch.from_numpy(labels).to(device)
        self._mean = torch.tensor(IMAGENET_MEAN, device=device)
        self._std = torch.tensor(IMAGENET_STD, device=device)

    def __len__(self) -> int:
        return len(self._labels)

    def take(self, index: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return normalised images [B, 3, S, S] and labels [B] as float32."""
        index = index.to(self._images.device)
        images = self._images[index].float().div_(255).sub_(self._mean).div_(self._std)
        images = images.permute(0, 3, 1, 2)  # [B, S, S, 3] -> [B, 3, S, S], channels last in memory
        return (images if channels_last else images.contiguous()), self._labels[index].float()


def batch_bounds(count: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Yield [start, stop) of each batch; a last batch of one image joins the one before.

    Batch normalisation has no variance over a single image of 1x1 features.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    yield from zip(starts, [*starts[1:], count], strict=True)


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """Return the order of the images in an epoch, a function of seed and epoch alone: [count]."""
    generator = torch.Generator().manual_seed(stable_seed(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def augmentation_generator(seed: int, epoch: int) -> torch.Generator:
    """Return the augmentation stream of an epoch, a function of seed and epoch alone."""
    return torch.Generator().manual_seed(stable_seed(seed, "augment", epoch))
