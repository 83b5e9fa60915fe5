"""Small data and short trials for the tests of training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.paths import LAST_CHECKPOINT, WEIGHTS
from study.training.dataset import DeviceImages
from study.training.models import architectures
from study.training.progress import TrainingProgress
from study.training.trainer import train
from study.training.training_data import TrainingData

torch.set_num_threads(1)  # the nets are too small to share, and the numbers do not depend on the machine's cores

MAX_AUC = Objective(metric="val_auc", mode="max")
MIN_LOSS = Objective(metric="val_loss", mode="min")
CPU = torch.device("cpu")
TIMES = ("epoch_s", "images_per_s", "peak_memory_bytes", "latency_ms")


def noisy_halves(train: int = 64, val: int = 32, size: int = 32, contrast: int = 40) -> TrainingData:
    """Noise whose left half is a little brighter where the label is 1."""
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.arange(train + val) % 2).astype(np.int64)
    images = rng.integers(0, 200, (train + val, size, size, 3))
    images[:, :, : size // 2] += contrast * labels[:, None, None, None]
    pixels = images.astype(np.uint8)
    return TrainingData(
        pixels[:train], labels[:train], pixels[train:], labels[train:], classes=("off", "on"), fingerprint="f" * 64
    )


SMALL_DATA = noisy_halves(train=16, val=12, size=16, contrast=8)


def short_trial(**changed: Any) -> TrialConfig:
    """Return a trial of the smallest net; plain float32 unless told otherwise."""
    settings = {"depth": 10, "max_epochs": 2, "batch_size": 32, "precision": "fp32", "channels_last": False}
    return TrialConfig(**{"seed": 3, "point": 0, **settings, **changed})


def run(config: TrialConfig, data: TrainingData, folder: Path, objective: Objective = MAX_AUC) -> TrainingProgress:
    """Train to the end and return the last progress."""
    *_, last = train(config, data, objective, folder, device=CPU)
    return last


def numbers(progress: TrainingProgress) -> list[Mapping[str, float]]:
    """Return the metrics of every epoch without those that are times or sizes."""
    return [{key: value for key, value in epoch.values.items() if key not in TIMES} for epoch in progress.history]


def three_stripes(train: int = 36, val: int = 18, size: int = 16) -> TrainingData:
    """Noise in which one of three bands, top to bottom, is brighter: the class; label 2 is the bottom one."""
    rng = np.random.default_rng(11)
    labels = rng.permutation(np.arange(train + val) % 3).astype(np.int64)
    images = rng.integers(0, 120, (train + val, size, size, 3))
    band = size // 3
    for image, label in zip(images, labels, strict=True):
        image[label * band : (label + 1) * band] += 100
    pixels = images.astype(np.uint8)
    return TrainingData(
        pixels[:train],
        labels[:train],
        pixels[train:],
        labels[train:],
        classes=("top", "middle", "bottom"),
        fingerprint="3" * 64,
    )


def first_images(data: TrainingData, count: int) -> DeviceImages:
    """Return the first training images on the CPU, normalised as ImageNet is."""
    return DeviceImages(data.train_images[:count], data.train_labels[:count], CPU, classes=len(data.classes))


def plain_pixels(images: np.ndarray) -> torch.Tensor:
    """Normalise uint8 images [N, S, S, 3] as ImageNet is, by numpy: float32 [N, 3, S, S]."""
    scaled = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return torch.from_numpy(scaled.astype(np.float32).transpose(0, 3, 1, 2).copy())


class SmallNet(nn.Module):
    """A net of a few hundred weights, for tests of everything but what is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 6, 5, 2, bias=False), nn.BatchNorm2d(6), nn.Linear(6, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [B, outputs] for [B, 3, H, W]."""
        maps = functional.relu(self.bn(self.conv(images)))
        logits: torch.Tensor = self.fc(maps.mean((2, 3)))
        return logits


def use_small_net(patch: pytest.MonkeyPatch) -> None:
    """Let depth 10 be SmallNet, and an epoch's numbers depend on nothing but the configuration."""
    patch.setitem(architectures.ARCHITECTURES, ("resnet", 10), architectures.Architecture(SmallNet))
    patch.setattr("study.training.trainer.measure_latency_ms", lambda network, images: 1.0)
    patch.setattr("study.training.trainer.time.perf_counter", iter(range(10**9)).__next__)
    patch.setattr("study.training.device.peak_memory_bytes", lambda device: 1)


def count_checkpoints(root: Path) -> int:
    """Count the checkpoints under their names below a folder: to go on from, and selected ones with their weights."""
    return sum(
        path.name == LAST_CHECKPOINT or (path.name == WEIGHTS and path.parent.name.startswith("epoch-"))
        for path in root.rglob("*")
    )


def count_unfinished(root: Path) -> int:
    """Count what is being written below a folder; what is inside an unfinished folder belongs to it."""
    parts = list(root.rglob("*.part"))
    return sum(not any(other in path.parents for other in parts) for path in parts)


class Killed(BaseException):
    """SIGKILL, as near as one process can have it."""


@dataclass
class Killer:
    """Kills at the n-th change of the file system, before or after it; nothing is changed after a death.

    ``watch`` is called after every change.
    """

    at: int = 0
    after: bool = False
    watch: Callable[[], object] = lambda: None
    changes: int = 0
    dead: bool = False

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand between the program and the file system."""
        for name in ("replace", "rename", "unlink", "rmdir", "mkdir", "fsync"):
            patch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.changes += not self.dead
            if self.dead or (self.changes == self.at and not self.after):
                self.dead = True
                raise Killed
            try:
                return change(*args, **kwargs)
            finally:
                self.watch()
                if self.changes == self.at:
                    self.dead = True
                    raise Killed

        return guarded
