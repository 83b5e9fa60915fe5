"""The features of frozen layers, computed once for all epochs and for all trials on this machine that share them.

Without augmentation a frozen backbone gives an image the same features in every epoch, so only the head is left to be
trained; frozen stages give it the same maps. What the features depend on names their file in the cache folder: weights,
images, normalization, precision and how this processor computes. They are as exact as a forward pass of another batch
size.
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
from study.training.dataset import EVAL_BATCH_SIZE, DeviceImages
from study.training.frozen.weights import FrozenWeights
from study.training.models.architectures import Network

FOLDER = "features"
UNUSED_AFTER_S = 7 * 24 * 3600
STAGES = ("stages<=2", "stages<=3")
"""Where maps pay: an epoch takes 1/1.3 to 1/1.5 and 1/1.7 to 1/2 of the time; after stage 1 it is 1/1.2, and the maps
are five times as large as the images."""
MOST_MAP_BYTES = 2 * 1024**3
"""Of a trial's image sets; trials at once map the same file, so a node holds them once."""
_FORM = 3
_NAME = "features"


class FeatureSet:
    """The features of an image set under frozen layers, in place of its images; computed when first taken."""

    def __init__(
        self, network: Network, frozen: FrozenWeights, images: DeviceImages, pixels: NDArray[np.uint8]
    ) -> None:
        """Prepare a set.

        Args:
            network: whose frozen layers compute the features.
            frozen: their weights.
            images: the set on its device.
            pixels: [N, S, S, 3], those of the set, as they tell it from others.
        """
        self._network, self._frozen, self._images, self._pixels = network, frozen, images, pixels

    def __len__(self) -> int:
        return len(self._images)

    @cached_property
    def features(self) -> torch.Tensor:
        """[N, C], or [N, H, W, C] of stages, on the device, in the precision in which the next layer receives them."""
        stored = cache_dir() / FOLDER / f"{self._key()}.safetensors"
        with torch.inference_mode(False), torch.no_grad():  # or nothing could be trained on them
            return _computed_once(stored, len(self), self._compute).to(self._network.device)

    def eval_batch_size(self, precision: str) -> int:
        """Return how many to classify at once: what is left of a network takes little memory."""
        return EVAL_BATCH_SIZE

    def take(self, index: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [B, C] or [B, C, H, W] and one-hot targets [B, K]."""
        index = index.to(self.features.device)
        features = self.features[index]
        if features.ndim == 4:
            features = features.permute(0, 3, 1, 2)  # [B, H, W, C] -> [B, C, H, W]
        return (features if channels_last else features.contiguous()), self._images.targets(index)

    def normalize(self, features: torch.Tensor) -> torch.Tensor:
        """Return the features as they are: their images were normalized."""
        return features

    def _compute(self) -> torch.Tensor:
        parts = []
        with _evaluating(self._network.model):
            for index in torch.arange(len(self)).split(self._images.eval_batch_size(self._network.precision)):
                batch, _ = self._images.take(index, channels_last=self._network.channels_last)
                parts.append(self._network.features(self._images.normalize(batch)))
        features = torch.cat(parts)
        return (features.permute(0, 2, 3, 1) if features.ndim == 4 else features).contiguous().cpu()

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
    """Whether a trial's frozen layers give an image the same features in every epoch, and their numbers are few."""
    return config.freeze in ("backbone", *STAGES) and config.augmentation == "none"


def are_worth_storing(network: Network, example: DeviceImages, count: int) -> bool:
    """Whether the features of ``count`` images are to be stored: those of a backbone always, maps within bounds.

    Maps stay off a GPU, whose memory is shared out by what trials take without them.
    """
    if network.freeze == "backbone":
        return True
    if network.device.type != "cpu":
        return False
    image, _ = example.take(torch.zeros(1, dtype=torch.long), channels_last=network.channels_last)
    with torch.inference_mode(), _evaluating(network.model):
        return network.features(example.normalize(image)).nbytes * count <= MOST_MAP_BYTES


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
                data = save({_NAME: features})
                write_atomic(stored, lambda file: file.write(data), sync=False)
                mapped = _read(stored, images)
                return features if mapped is None else mapped
    return features


def _read(stored: Path, images: int) -> torch.Tensor | None:
    try:
        features = load_file(stored)[_NAME]
        os.utime(stored)
    except (OSError, SafetensorError, KeyError):
        return None
    return features if features.ndim in (2, 4) and len(features) == images else None


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
