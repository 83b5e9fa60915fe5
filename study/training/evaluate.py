"""Evaluation: logits of stored models and of extra image sets, their metrics, latency and parameter count."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.checkpoint_card import read_card
from study.config.hyperparameters import Hyperparameters
from study.files import write_atomic
from study.metric_catalog import shifted_metric
from study.paths import SHIFTED_SCORES
from study.training import device as devices
from study.training import metrics
from study.training.checkpoint import load_weights, stored_arrays
from study.training.dataset import Batches, DeviceImages
from study.training.models.architectures import Network, build_model, predict, to_device
from study.training.training_data import LabelledImages, TrainingData

WARM_UP = 2
MIN_IMAGES, MAX_IMAGES, ENOUGH_S = 3, 10, 0.05
"""Images that are timed: at least and at most so many, and no more after that time."""


def count_parameters(model: nn.Module) -> int:
    """Count a model's parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.inference_mode()
def measure_latency_ms(network: Network, images: DeviceImages) -> float:
    """Return the median time to classify the first image, after a warm-up; leaves the model in evaluation mode."""
    network.model.eval()
    image, _ = images.take(torch.zeros(1, dtype=torch.long), channels_last=network.channels_last)
    image = images.normalize(image)
    for _ in range(WARM_UP):
        _time_s(network, image)
    times: list[float] = []
    while len(times) < MIN_IMAGES or (len(times) < MAX_IMAGES and sum(times) < ENOUGH_S):
        times.append(_time_s(network, image))
    return 1000 * median(times)


def _time_s(network: Network, image: torch.Tensor) -> float:
    started = time.perf_counter()
    network.logits(image)
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
    return time.perf_counter() - started


ARCHITECTURE = ("family", "depth", "head", "head_width", "head_dropout")
"""The hyperparameters that decide which layers a model has."""


def load_model(architecture: Mapping[str, Any], outputs: int, weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Build a stored model; missing hyperparameters have their defaults.

    Raises:
        ValueError: there is no such architecture.
        RuntimeError: the weights do not fit it.
    """
    known = {name: architecture[name] for name in ARCHITECTURE if name in architecture}
    model = build_model(Hyperparameters.model_validate(known), outputs)
    model.load_state_dict(dict(weights))
    return model.eval()


def compute_logits(
    model: nn.Module,
    images: NDArray[np.uint8],
    preprocessing: Mapping[str, Any],
    precision: str,
    device: torch.device | None = None,
) -> NDArray[np.float64]:
    """Return the logits of images [N, S, S, 3]: [N] for two classes, else [N, K].

    Args:
        model: what ``load_model`` made; moved to the device.
        images: uint8 RGB, square, of the size the model expects.
        preprocessing: of a checkpoint's card; mean and std are used.
        precision: fp32 or bf16.
        device: default: the first visible GPU, else the CPU.
    """
    device = device or devices.pick_device()
    normalization = tuple(preprocessing["mean"]), tuple(preprocessing["std"])
    on_device = DeviceImages(images, np.zeros(len(images), np.int64), device, normalization=normalization)
    return predict(to_device(model, device, precision, channels_last=True), on_device)


def evaluate_checkpoint(
    checkpoint: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Return the metrics, by their bare names, and the scores of a selected checkpoint on images such as the test set.

    Raises:
        OSError, ValueError, RuntimeError: the checkpoint cannot be read or used.
    """
    card = read_card(checkpoint)
    outputs = 1 if len(card.classes) == 2 else len(card.classes)
    model = load_model(card.config, outputs, load_weights(checkpoint))
    logits = compute_logits(model, images, card.preprocessing, card.precision)
    return metrics.evaluate(logits, labels, card.classes), metrics.probabilities(logits)


Logits = Mapping[str, NDArray[np.float64]]


def predict_sets(network: Network, sets: Mapping[str, Batches]) -> dict[str, NDArray[np.float64]]:
    """Return the logits of every image set."""
    return {name: predict(network, images) for name, images in sets.items()}


def evaluate_shifted(logits: Logits, data: TrainingData) -> dict[str, float]:
    """Return ``shifted.<set>.<metric>`` of every set whose logits are all finite."""
    results: dict[str, float] = {}
    for name, of_set in logits.items():
        if np.isfinite(of_set).all():
            values = metrics.evaluate(of_set, data.shifted[name].labels, data.classes)
            results |= {shifted_metric(name, metric): value for metric, value in values.items()}
    return results


def save_scores(directory: Path, logits: Logits, sets: Mapping[str, LabelledImages]) -> None:
    """Write what is stored of every set beside the trial's checkpoint, as ``<set>/scores``, ``<set>/labels``, ..."""
    arrays: dict[str, Any] = {}
    for name, of_set in logits.items():
        stored = stored_arrays(metrics.probabilities(of_set), sets[name].labels, sets[name].ids, sets[name].groups)
        arrays |= {f"{name}/{key}": array for key, array in stored.items()}
    write_atomic(directory / SHIFTED_SCORES, lambda file: np.savez(file, **arrays))
