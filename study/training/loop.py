"""Train one trial, epoch by epoch; plain torch that yields metrics and knows no listener."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from study.errors import NonFiniteLossError
from study.hyperparameters import TrialConfig
from study.records import EpochMetrics, is_better
from study.spec import Objective, stable_seed
from study.training import checkpoint, metrics
from study.training import device as devices
from study.training.augmentation import AUGMENTATIONS
from study.training.batches import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DeviceImages,
    augmentation_generator,
    batch_bounds,
    epoch_order,
)
from study.training.checkpoint import CheckpointCard, Progress
from study.training.data import TrainingData
from study.training.initializers import Weights, initialize
from study.training.models import build_model
from study.training.network import Network, place, predict
from study.training.optimizers import build_optimizer
from study.training.resume import Identity, identify, read_last, save_last


@dataclass(frozen=True)
class Learner:
    """A network and the optimizer that changes it."""

    network: Network
    optimizer: torch.optim.Optimizer


def train(
    config: TrialConfig,
    data: TrainingData,
    objective: Objective,
    directory: Path,
    *,
    weights: Weights | None = None,
    device: torch.device | None = None,
) -> Iterator[Progress]:
    """Train a trial, or go on with it from its last checkpoint in ``directory``.

    Yields the progress after every epoch, its checkpoints safely on disk, and first of all what was found there.
    The numbers depend on ``config`` (its seed included), the data and the device alone.

    Args:
        config: every hyperparameter and the seed.
        data: images and labels.
        objective: which epoch is selected.
        directory: the trial's own folder; made if need be.
        weights: ImageNet weights, for ``init: imagenet``.
        device: default: the GPU Ray gave this worker, else the CPU.

    Raises:
        NonFiniteLossError: before the optimizer takes the step.
        WeightsError: weights that are missing or do not fit.
    """
    device = device or devices.pick_device()
    devices.reset_peak_memory(device)
    last = read_last(directory, identify(config, objective, data.fingerprint))
    progress = last.progress
    checkpoint.drop_obsolete(directory, progress.best_epoch)
    if progress.history:
        yield progress
    if progress.epoch >= config.max_epochs:
        return
    learner = make_learner(config, device, weights)
    last.restore(learner.network.model, learner.optimizer)
    del last  # or its copy of the weights would stay
    yield from _go_on(learner, progress, config, data, objective, directory)


def make_learner(config: TrialConfig, device: torch.device, weights: Weights | None = None) -> Learner:
    """Build model and optimizer with the trial's initial weights on the device."""
    model = build_model(config.depth)
    initialize(model, config.init, stable_seed(config.seed, "init"), weights)
    network = place(model, device, *devices.resolve_precision(config, device))
    return Learner(network, build_optimizer(model, config))


def _go_on(
    learner: Learner,
    progress: Progress,
    config: TrialConfig,
    data: TrainingData,
    objective: Objective,
    directory: Path,
) -> Iterator[Progress]:
    """Train the epochs that are left."""
    identity = identify(config, objective, data.fingerprint)
    device = learner.network.device
    training = DeviceImages(data.train_images, data.train_labels, device)
    validation = DeviceImages(data.val_images, data.val_labels, device)
    for epoch in range(progress.epoch + 1, config.max_epochs + 1):
        values, logits = _run_epoch(learner, training, validation, data.val_labels, config, epoch)
        progress = _advance(progress, EpochMetrics(epoch, values), objective)
        _save(learner, progress, config, data, directory, logits, identity)
        yield progress


def _run_epoch(
    learner: Learner,
    training: DeviceImages,
    validation: DeviceImages,
    labels: NDArray[np.int64],
    config: TrialConfig,
    epoch: int,
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Train one epoch and validate; return every metric, and the validation logits [M]."""
    started = time.perf_counter()
    values = train_epoch(learner, training, config, epoch)
    images_per_s = len(training) / (time.perf_counter() - started)
    logits = predict(learner.network, validation)
    values |= score(logits, labels)
    peak = devices.peak_memory_bytes(learner.network.device)
    values |= {"images_per_s": images_per_s, "peak_memory_bytes": float(peak)}
    values["epoch_s"] = time.perf_counter() - started
    return values, logits


def train_epoch(learner: Learner, images: DeviceImages, config: TrialConfig, epoch: int) -> dict[str, float]:
    """Take one pass over the training images; return train_loss, train_accuracy and learning_rate."""
    network = learner.network
    network.model.train()
    augment, stream = AUGMENTATIONS[config.augmentation], augmentation_generator(config.seed, epoch)
    order = epoch_order(len(images), config.seed, epoch)
    loss_sum, right = 0.0, torch.zeros((), device=network.device)
    for start, stop in batch_bounds(len(images), config.batch_size):
        batch, labels = images.take(order[start:stop], channels_last=network.channels_last)
        logits = network.logits(augment(batch, stream))  # [B]
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the loss must be finite, but is {value} in epoch {epoch} after {start} images "
                f"(learning_rate {config.learning_rate:g}); a lower learning rate is the usual way out"
            )
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()
        loss_sum += value * (stop - start)
        right += ((logits.detach() > 0) == (labels > 0.5)).sum()
    rate = learner.optimizer.param_groups[0]["lr"]
    return {
        "train_loss": loss_sum / len(images),
        "train_accuracy": float(right) / len(images),
        "learning_rate": float(rate),
    }


def score(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the validation metrics of logits [M] against labels [M].

    Raises:
        NonFiniteLossError: the model gives a logit that is not finite.
    """
    if not np.isfinite(logits).all():
        raise NonFiniteLossError("validation logits must be finite; a lower learning rate is the usual way out")
    scores = metrics.sigmoid(logits)
    return {
        "val_loss": metrics.log_loss(logits, labels),
        "val_accuracy": metrics.accuracy(scores, labels),
        "val_auc": metrics.roc_auc(scores, labels),
        "val_f1": metrics.f1(scores, labels),
    }


def _advance(progress: Progress, now: EpochMetrics, objective: Objective) -> Progress:
    value = now.values[objective.metric]
    history = (*progress.history, now)
    if is_better(value, progress.best_value, objective.mode):
        return Progress(history, now.epoch, value)
    return Progress(history, progress.best_epoch, progress.best_value)


def _save(
    learner: Learner,
    progress: Progress,
    config: TrialConfig,
    data: TrainingData,
    directory: Path,
    logits: NDArray[np.float64],
    identity: Identity,
) -> None:
    """Write the selected checkpoint first, then the one that refers to it, then delete what is obsolete."""
    model = learner.network.model
    if progress.best_epoch == progress.epoch:
        card = CheckpointCard(
            depth=config.depth,
            classes=data.classes,
            preprocessing=preprocessing(data.train_images.shape[1]),
            epoch=progress.epoch,
            metrics=dict(progress.history[-1].values),
            config=config.model_dump(),
            data_fingerprint=data.fingerprint,
            precision=learner.network.precision,
            device=learner.network.device.type,
        )
        checkpoint.save_best(directory, model, card, metrics.sigmoid(logits), data.val_labels)
    if progress.epoch < config.max_epochs:
        save_last(directory, identity, progress, model, learner.optimizer)
    else:
        save_last(directory, identity, progress)
    checkpoint.drop_obsolete(directory, progress.best_epoch)


def preprocessing(image_size_px: int) -> dict[str, object]:
    """Say what a model expects of its input, for whoever deploys it."""
    return {
        "image_size_px": image_size_px,
        "resize": "shorter side, centre crop",
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
    }
