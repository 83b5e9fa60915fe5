"""Hold the images on the device as uint8; cut them into batches in a reproducible order."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from study.spec import stable_seed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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
