"""The images of a trial, on its device as uint8, and the reproducible order of its batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from study.config.study_config import stable_seed

Channels = tuple[float, float, float]
FIXED_NORMALIZATIONS: dict[str, tuple[Channels, Channels]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "half": ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""(mean, standard deviation) of pixels in [0, 1]; ``dataset`` uses those of the training images."""


EVAL_BATCH_SIZE = 256
CPU_EVAL_PIXELS = {"fp32": 2**18, "bf16": 2**19}
"""Of a batch that a CPU classifies, by precision: 64 or 128 images of 64 px, whose maps stay in its caches."""
FEWEST_EVALUATED = 16


class Batches(Protocol):
    """A set of images, or of what stands for them, that gives batches."""

    def __len__(self) -> int: ...

    def eval_batch_size(self, precision: str) -> int:
        """Return how many to classify at once without training; at most ``EVAL_BATCH_SIZE``."""

    def take(self, index: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs [B, ...] and one-hot targets [B, K] of these indices, float32."""

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return augmented inputs as a network takes them."""


class DeviceImages:
    """Images and labels on one device, as uint8; converted to float batch by batch."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        device: torch.device,
        *,
        classes: int = 2,
        normalization: tuple[Channels, Channels] = FIXED_NORMALIZATIONS["imagenet"],
    ) -> None:
        with warnings.catch_warnings():
            # Arrays from Ray's object store are read-only; torch warns, but nothing writes to them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._images = torch.from_numpy(images).to(device)
            self.labels = torch.from_numpy(labels).to(device)  # [N]
        self.classes, self.normalization = classes, normalization
        self._class_numbers = torch.arange(classes, device=device)  # [K]
        self._mean, self._std = (
            torch.tensor(channels, device=device).view(1, 3, 1, 1) for channels in normalization
        )  # [1, 3, 1, 1]

    def __len__(self) -> int:
        return len(self.labels)

    def eval_batch_size(self, precision: str) -> int:
        """Return how many images to classify at once, by device, size and precision alone."""
        if self._images.device.type != "cpu":
            return EVAL_BATCH_SIZE
        most = CPU_EVAL_PIXELS[precision] // self._images.shape[1] ** 2
        return max(FEWEST_EVALUATED, min(EVAL_BATCH_SIZE, most))

    def take(self, index: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images [B, 3, S, S] in [0, 1] and one-hot targets [B, K], float32."""
        index = index.to(self._images.device)
        images = self._images[index].float().div_(255).permute(0, 3, 1, 2)  # [B, S, S, 3] -> [B, 3, S, S]
        return (images if channels_last else images.contiguous()), self.targets(index)

    def targets(self, index: torch.Tensor) -> torch.Tensor:
        """Return one-hot targets [B, K], float32."""
        return (
            self.labels[index].unsqueeze(1) == self._class_numbers
        ).float()  # torch's one_hot reads numbers to check them

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Subtract the mean and divide by the standard deviation, in place; float32 [B, 3, S, S]."""
        return images.sub_(self._mean).div_(self._std)


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


def balanced_order(labels: NDArray[np.int64], seed: int, epoch: int) -> torch.Tensor:
    """Draw as many images as there are, with replacement, every class equally often on average: [N].

    A function of the labels, seed and epoch alone.
    """
    generator = torch.Generator().manual_seed(stable_seed(seed, "order", epoch))
    weights = 1 / torch.from_numpy(np.bincount(labels)).double()  # [K]
    return torch.multinomial(weights[torch.tensor(labels)], len(labels), replacement=True, generator=generator)


def augmentation_generator(seed: int, epoch: int) -> torch.Generator:
    """Return the augmentation stream of an epoch, a function of seed and epoch alone."""
    return torch.Generator().manual_seed(stable_seed(seed, "augment", epoch))
