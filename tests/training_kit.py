"""Small data and short trials for the tests of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.hyperparameters import TrialConfig
from study.spec import Objective
from study.training.batches import DeviceImages
from study.training.data import TrainingData
from study.training.loop import train
from study.training.progress import Progress

torch.set_num_threads(1)  # the nets are too small to share, and the numbers do not depend on the machine's cores

MAX_AUC = Objective(metric="val_auc", mode="max")
MIN_LOSS = Objective(metric="val_loss", mode="min")
CPU = torch.device("cpu")
TIMES = ("epoch_s", "images_per_s", "peak_memory_bytes")


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


def short_trial(**changed: Any) -> TrialConfig:
    """Return a trial of the smallest net; plain float32 unless told otherwise."""
    settings = {"depth": 10, "max_epochs": 2, "batch_size": 32, "precision": "fp32", "channels_last": False}
    return TrialConfig(**{"seed": 3, "point": 0, **settings, **changed})


def run(config: TrialConfig, data: TrainingData, folder: Path, objective: Objective = MAX_AUC) -> Progress:
    """Train to the end and return the last progress."""
    *_, last = train(config, data, objective, folder, device=CPU)
    return last


def numbers(progress: Progress) -> list[Mapping[str, float]]:
    """Return the metrics of every epoch without those that are times or sizes."""
    return [{key: value for key, value in one.values.items() if key not in TIMES} for one in progress.history]


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
