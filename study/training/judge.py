"""Score images with a stored model, as its validation images were scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.hyperparameters import Hyperparameters
from study.training import device as devices
from study.training import metrics
from study.training.batches import DeviceImages
from study.training.checkpoint import load_weights, read_card
from study.training.models import build_model
from study.training.network import place, predict

ARCHITECTURE = ("family", "depth", "head", "head_width", "head_dropout")
"""The hyperparameters that say which layers a model has."""


def rebuild(architecture: Mapping[str, Any], outputs: int, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build a stored model; hyperparameters that are not given have their defaults.

    Raises:
        ValueError: there is no such architecture.
        RuntimeError: the weights do not fit it.
    """
    known = {name: architecture[name] for name in ARCHITECTURE if name in architecture}
    model = build_model(Hyperparameters.model_validate(known), outputs)
    model.load_state_dict(dict(weights))
    return model.eval()


def logits_of(
    model: nn.Module,
    images: NDArray[np.uint8],
    preprocessing: Mapping[str, Any],
    precision: str,
    device: torch.device | None = None,
) -> NDArray[np.float64]:
    """Return the logits of images [N, S, S, 3]: [N] for two classes, else [N, K].

    Args:
        model: what ``rebuild`` made; moved to the device.
        images: uint8 RGB, square, of the size the model expects.
        preprocessing: mean and std, as a checkpoint's card has them.
        precision: fp32 or bf16.
        device: default: the first visible GPU, else the CPU.
    """
    device = device or devices.pick_device()
    normalization = tuple(preprocessing["mean"]), tuple(preprocessing["std"])
    held = DeviceImages(images, np.zeros(len(images), np.int64), device, normalization=normalization)
    return predict(place(model, device, precision, channels_last=True), held)


def metrics_on(checkpoint: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[str, float]:
    """Score a selected checkpoint on the test images; return the metrics by their bare names.

    Raises:
        OSError, ValueError, RuntimeError: the checkpoint cannot be read or used.
    """
    card = read_card(checkpoint)
    outputs = 1 if len(card.classes) == 2 else len(card.classes)
    model = rebuild(card.config, outputs, load_weights(checkpoint))
    return metrics.evaluate(logits_of(model, images, card.preprocessing, card.precision), labels, card.classes)
