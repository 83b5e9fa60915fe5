"""Small data and short trials for the tests of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.hyperparameters import TrialConfig
from study.spec import Objective
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
