"""Score a trial on image sets it was neither trained nor selected on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.layout import SHIFTED_SCORES, write_atomic
from study.records import SHIFTED_PREFIX
from study.training import metrics
from study.training.batches import DeviceImages
from study.training.data import LabelledImages, TrainingData
from study.training.network import Network, predict

Logits = Mapping[str, NDArray[np.float64]]


def predict_sets(network: Network, sets: Mapping[str, DeviceImages]) -> dict[str, NDArray[np.float64]]:
    """Return the logits of every set."""
    return {name: predict(network, images) for name, images in sets.items()}


def shifted_metrics(logits: Logits, data: TrainingData) -> dict[str, float]:
    """Return ``shifted.<set>.<metric>`` of every set; one on which the model overflows has none."""
    found: dict[str, float] = {}
    for name, one in logits.items():
        if not np.isfinite(one).all():
            continue
        values = metrics.evaluate(one, data.shifted[name].labels, data.classes)
        found |= {f"{SHIFTED_PREFIX}{name}.{metric}": value for metric, value in values.items()}
    return found


def save_scores(directory: Path, logits: Logits, sets: Mapping[str, LabelledImages]) -> None:
    """Write the scores and labels of every set beside the trial's checkpoint, as ``<set>/scores`` and ``/labels``."""
    arrays: dict[str, Any] = {f"{name}/scores": metrics.probabilities(one) for name, one in logits.items()}
    arrays |= {f"{name}/labels": sets[name].labels for name in logits}
    write_atomic(directory / SHIFTED_SCORES, lambda file: np.savez(file, **arrays))
