"""The features of a frozen backbone, computed once for all epochs and for all trials on this machine that share them.

Without augmentation a frozen backbone gives an image the same features in every epoch, so only the head is left to be
trained. What the features depend on names their file in the cache folder: weights, images, normalization, precision
and how this processor computes. They are as exact as a forward pass of another batch size.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from study.config.hyperparameters import TrialConfig
from study.files import write_atomic
from study.paths import cache_dir
from study.training.dataset import DeviceImages
from study.training.frozen.weights import FrozenWeights
from study.training.models.architectures import EVAL_BATCH_SIZE, Network

FOLDER = "features"
UNUSED_AFTER_S = 7 * 24 * 3600
_FORM = 2
_NAME = "features"


class FeatureSet:
    """The features of an image set under a frozen backbone, in place of its images; computed when first taken."""

    def __init__(
        self, network: Network, frozen: FrozenWeights, images: DeviceImages, pixels: NDArray[np.uint8]
    ) -> None:
        """Prepare a set.

        Args:
            network: whose backbone computes the features.
            frozen: the weights of the backbone.
            images: the set on its device.
            pixels: [N, S, S, 3], those of the set, as they tell it from others.
        """
        self._network, self._frozen, self._images, self._pixels = network, frozen, images, pixels

    def __len__(self) -> int:
        return len(self._images)

    @cached_property
    def features(self) -> torch.Tensor:
        """[N, C] on the device, in the precision in which the head receives them."""
        stored = cache_dir() / FOLDER / f"{self._key()}.safetensors"
        with torch.inference_mode(False), torch.no_grad():  # or nothing could be trained on them
            return _computed_once(stored, len(self), self._compute).to(self._network.device)

    def take(self, index: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [B, C] and one-hot targets [B, K]; ``channels_last`` is that of images and has no effect."""
        index = index.to(self.features.device)
        return self.features[index], self._images.targets(index)

    def normalize(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features as they are: their images were normalized."""
        return features

    def _compute(self) -> torch.Tensor:
        parts = []
        with _evaluating(self._network.model):
            for start in range(0, len(self), EVAL_BATCH_SIZE):
                index = torch.arange(start, min(start + EVAL_BATCH_SIZE, len(self)))
                batch, _ = self._images.take(index, channels_last=self._network.channels_last)
                parts.append(self._network.features(self._images.normalize(batch)))
        return torch.cat(parts).cpu()

    def _key(self) -> str:
        """Name the features after everything they depend on."""
        network = self._network
        computed_by = (
            torch.__version__, network.device.type, network.precision, network.channels_last, torch.get_num_threads(),
            torch.backends.cpu.get_cpu_capability(), os.environ.get("ONEDNN_MAX_CPU_ISA"),
        )  # fmt: skip
        digest = hashlib.sha256(repr((_FORM, *computed_by, self._images.normalization, self._pixels.shape)).encode())
        digest.update(np.ascontiguousarray(self._pixels).data)
        digest.update(self._frozen.digest.encode())
        return digest.hexdigest()[:32]


def has_fixed_features(config: TrialConfig) -> bool:
    """Whether the features that a trial's head receives never change."""
    return config.freeze == "backbone" and config.augmentation == "none"


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


def _computed_once(stored: Path, images: int, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Return what is stored; else compute and store it while other processes that need it wait.

    A folder that cannot be written costs time, not the trial.
    """
    with _locked(stored):
        features = _read(stored, images)
        if features is None:
            features = compute()
            with suppress(OSError):
                _remove_unused(stored.parent)
                data = save({_NAME: features.contiguous()})
                write_atomic(stored, lambda file: file.write(data), sync=False)
    return features


def _read(stored: Path, images: int) -> torch.Tensor | None:
    try:
        features = load_file(stored)[_NAME]
        os.utime(stored)
    except (OSError, SafetensorError, KeyError):
        return None
    return features if features.ndim == 2 and len(features) == images else None


@contextmanager
def _locked(stored: Path) -> Iterator[None]:
    """Hold the lock of a file; the system frees it when its holder dies. Do without where there can be none."""
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(stored.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _remove_unused(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > UNUSED_AFTER_S:
                path.unlink()
