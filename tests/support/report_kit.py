"""A plausible trial for tests of its figures: history, scores, labels and images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.records import EpochMetrics, StopReason, TrialRecord, TrialState


@dataclass(frozen=True)
class Judged:
    """What ``trial_page`` takes."""

    record: TrialRecord
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    images: NDArray[np.uint8]
    names: tuple[str, ...]

    def save(self, folder: Path) -> Path:
        """Write the scores as a checkpoint has them."""
        folder.mkdir(parents=True)
        np.savez(folder / "validation.npz", scores=self.scores, labels=self.labels)
        return folder


def judged(count: int = 400, classes: int = 2, *, epochs: int = 12, size_px: int = 48, seed: int = 0) -> Judged:
    """Make a trial that is right most of the time; scores tie now and then."""
    stream = np.random.default_rng(seed)
    labels = np.append(np.arange(classes), stream.integers(0, classes, count - classes))
    names = ("not_wearing_mask", "wearing_mask") if classes == 2 else tuple(f"kind {k}" for k in range(classes))
    if classes == 2:
        scores = 1 / (1 + np.exp(-(3.2 * (2 * labels - 1) + stream.normal(0, 2.6, count))))
    else:
        logits = stream.normal(0, 1.2, (count, classes)) + 2.5 * np.eye(classes)[labels]
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if classes == 2:
        scores = np.round(scores, 3)
    images = stream.integers(0, 255, (count, 4, 4, 3), dtype=np.uint8).repeat(size_px // 4, 1).repeat(size_px // 4, 2)
    paths = tuple(f"val/{names[label]}/picture_{at:05d}.jpg" for at, label in enumerate(labels))
    return Judged(record(epochs, stream), scores, labels, names, images, paths)


def record(epochs: int, stream: np.random.Generator) -> TrialRecord:
    """Make a finished trial that begins to overfit after two thirds of its epochs."""
    best = max(1, epochs * 2 // 3)
    history = tuple(_epoch(epoch, best, epochs, stream) for epoch in range(1, epochs + 1))
    params = {"optimizer": "adam", "learning_rate": 0.00123456789, "depth": 34, "augmentation": "flip"}
    return TrialRecord(
        "faces", 7, TrialState.COMPLETE, params, params, seed=11, stop_reason=StopReason.EARLY_STOPPED,
        value=history[best - 1].values["val_auc"], epoch=best, epochs_run=epochs, metrics=history[best - 1].values,
        history=history, started_at_s=100.0, finished_at_s=187.4,
    )  # fmt: skip


def _epoch(epoch: int, best: int, epochs: int, stream: np.random.Generator) -> EpochMetrics:
    decay, over = float(np.exp(-3 * epoch / epochs)), max(0, epoch - best) / epochs
    noise = stream.normal(0, 0.012, 4)
    values = {
        "train_loss": 0.65 * decay + 0.03,
        "val_loss": 0.6 * decay + 0.12 + 0.3 * over + noise[0],
        "train_accuracy": 0.99 - 0.4 * decay,
        "val_accuracy": 0.93 - 0.35 * decay - 0.05 * over + noise[1],
        "val_auc": 0.975 - 0.3 * decay - 0.04 * over + noise[2],
        "val_f1": 0.92 - 0.35 * decay + noise[3],
        "learning_rate": 1e-3 * (1 + float(np.cos(np.pi * epoch / epochs))) / 2,
    }
    return EpochMetrics(epoch, values)
