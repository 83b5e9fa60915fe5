"""The training loop of one trial: plain torch that yields its progress after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from study.checkpoint_card import CheckpointCard
from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.errors import DataError, NonFiniteLossError
from study.metric_catalog import SHIFTED_METRIC_PREFIX
from study.records import EpochMetrics, StopReason
from study.training import checkpoint, metrics
from study.training import device as devices
from study.training.checkpoint import SelectedCheckpoint
from study.training.dataset import Batches, DeviceImages
from study.training.evaluate import count_parameters, evaluate_shifted, measure_latency_ms, predict_sets, save_scores
from study.training.frozen.features import FeatureSet, are_worth_storing, has_fixed_features
from study.training.learner import Learner, image_order, make_learner, normalization, train_epoch
from study.training.models.architectures import predict
from study.training.models.initialization import Weights
from study.training.progress import TrainingProgress, find_stop_reason
from study.training.training_data import TrainingData
from study.training.trial_resume import TrialCheckpoints, training_identity

RESIZE_WORDS: Mapping[str, str] = {
    "crop": "shorter side, centre crop",
    "stretch": "both sides, proportions not kept",
    "pad": "longer side, centred on black",
}


@dataclass(frozen=True)
class TrainingTask:
    """A trial's configuration, data and objective, all that decides its metrics but the device, and its files."""

    config: TrialConfig
    data: TrainingData
    objective: Objective
    checkpoints: TrialCheckpoints

    @property
    def evaluates_shifted_each_epoch(self) -> bool:
        """Whether selection or early stopping uses the shifted sets; else only the selected checkpoint is scored."""
        stops = self.config.early_stopping_patience is not None and self.config.early_stopping_metric
        return any(metric and metric.startswith(SHIFTED_METRIC_PREFIX) for metric in (self.objective.metric, stops))


@dataclass(frozen=True)
class TrainingImages:
    """The images of a trial on its device, or their features where frozen layers compute them once.

    ``examples`` are always images, of the training set, for what a whole classification costs.
    """

    training: Batches
    validation: Batches
    shifted: Mapping[str, Batches]
    examples: DeviceImages


def train(
    config: TrialConfig,
    data: TrainingData,
    objective: Objective,
    directory: Path,
    *,
    weights: Weights | None = None,
    device: torch.device | None = None,
    pruned: Callable[[int], bool] = lambda epoch: False,
) -> Generator[TrainingProgress]:
    """Train a trial, resuming from its last checkpoint in ``directory`` if there is one.

    Yields the progress after every epoch, once its checkpoints are on disk, and first that of the resumed checkpoint.
    The last progress holds the reason to stop and the metrics of the selected checkpoint on the shifted sets.
    The metrics depend on ``config`` (its seed included), the data and the device alone.

    Args:
        config: every hyperparameter and the seed.
        data: images and labels.
        objective: which epoch is selected.
        directory: the trial's own folder; created if missing.
        weights: initial weights for an ``init`` that loads them.
        device: default: the GPU Ray gave this worker, else the CPU.
        pruned: called with each finished epoch; true ends the trial.

    Raises:
        DataError: a batch is larger than the training set.
        NonFiniteLossError: before the epoch's checkpoint is written.
        WeightsError: weights are missing or do not fit.
    """
    validate_batch_size(config.batch_size, len(data.train_labels))
    device = device or devices.pick_device()
    devices.reset_peak_memory(device)
    checkpoints = TrialCheckpoints(directory, training_identity(config, objective, data.fingerprint))
    task = TrainingTask(config, data, objective, checkpoints)
    initial_learner = cache(partial(make_learner, config, data, device, weights))
    last = checkpoints.read_last(initial_learner)
    progress = last.progress
    reason = find_stop_reason(config, progress.history)
    if reason and not data.shifted:
        yield replace(progress, ended=reason)
        return
    if progress.history and not reason and not pruned(progress.epoch):
        yield progress
    learner = initial_learner()
    last.restore(learner)
    del last, weights, initial_learner  # or their copies would stay
    yield from _train_remaining_epochs(learner, progress, task, _images_for(learner, task), pruned)


def validate_batch_size(batch_size: int, images: int) -> None:
    """Raise DataError if the training set is smaller than a batch."""
    if batch_size > images:
        raise DataError(
            f"batch_size must be <= the number of training images, {images}, but got {batch_size}; lower batch_size"
        )


def _images_for(learner: Learner, task: TrainingTask) -> TrainingImages:
    data, mean_std, network = task.data, normalization(task.config, task.data), learner.network

    def prepared(images: DeviceImages, pixels: NDArray[np.uint8]) -> Batches:
        return FeatureSet(network, learner.frozen, images, pixels) if stores_features else images

    def to_device(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> DeviceImages:
        return DeviceImages(pixels, labels, network.device, classes=len(data.classes), normalization=mean_std)

    training = to_device(data.train_images, data.train_labels)
    count = sum(map(len, (data.train_labels, data.val_labels, *(shifted.labels for shifted in data.shifted.values()))))
    stores_features = has_fixed_features(task.config) and are_worth_storing(network, training, count)
    return TrainingImages(
        training=prepared(training, data.train_images),
        validation=prepared(to_device(data.val_images, data.val_labels), data.val_images),
        shifted={
            name: prepared(to_device(shifted.images, shifted.labels), shifted.images)
            for name, shifted in data.shifted.items()
        },
        examples=training,
    )


def _train_remaining_epochs(
    learner: Learner,
    progress: TrainingProgress,
    task: TrainingTask,
    images: TrainingImages,
    pruned: Callable[[int], bool],
) -> Iterator[TrainingProgress]:
    cost: Mapping[str, float] = {}
    while True:
        reason = find_stop_reason(task.config, progress.history)
        if reason is None and progress.history and pruned(progress.epoch):
            reason = StopReason.PRUNED
        if reason is not None:
            yield replace(progress, ended=reason, evaluation=_evaluate_selected(learner, progress, task, images))
            return
        epoch, cost = progress.epoch + 1, cost or _inference_cost(learner, images, progress)
        values, logits = _run_epoch(learner, task, images, epoch)
        progress = progress.advance(EpochMetrics(epoch, {**values, **cost}), task.objective)
        _save(learner, progress, task, logits)
        if find_stop_reason(task.config, progress.history) is None:
            yield progress


def _inference_cost(learner: Learner, images: TrainingImages, progress: TrainingProgress) -> dict[str, float]:
    """Return latency and parameter count: measured before a trial's first epoch, kept after a resume."""
    measured = progress.history[-1].values if progress.history else {}
    latency_ms = measured.get("latency_ms") or measure_latency_ms(learner.network, images.examples)
    return {"latency_ms": latency_ms, "parameters": float(count_parameters(learner.network.model))}


def _run_epoch(
    learner: Learner, task: TrainingTask, images: TrainingImages, epoch: int
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Train one epoch and validate; return every metric, and the validation logits [M] or [M, K]."""
    started = time.perf_counter()
    order = image_order(task.config, task.data.train_labels, epoch)
    values = train_epoch(learner, images.training, order, task.config, epoch)
    images_per_s = len(images.training) / (time.perf_counter() - started)
    logits = predict(learner.evaluated_network, images.validation)
    values |= validation_metrics(logits, task.data)
    if task.evaluates_shifted_each_epoch:
        shifted_logits = predict_sets(learner.evaluated_network, images.shifted)
        for name, of_set in shifted_logits.items():
            validate_logits(of_set, f"logits of shifted set {name}")
        values |= evaluate_shifted(shifted_logits, task.data)
    peak = devices.peak_memory_bytes(learner.network.device)
    values |= {"images_per_s": images_per_s, "peak_memory_bytes": float(peak)}
    values["epoch_s"] = time.perf_counter() - started
    return values, logits


def validation_metrics(logits: NDArray[np.float64], data: TrainingData) -> dict[str, float]:
    """Return the validation metrics of logits [M] or [M, K].

    Raises:
        NonFiniteLossError: the model gives a logit that is not finite.
    """
    validate_logits(logits, "validation logits")
    return {f"val_{name}": value for name, value in metrics.evaluate(logits, data.val_labels, data.classes).items()}


def validate_logits(logits: NDArray[np.float64], what: str) -> None:
    """Raise NonFiniteLossError unless all logits are finite."""
    if not np.isfinite(logits).all():
        raise NonFiniteLossError(f"{what} must be finite; a lower learning rate is the usual way out")


def _evaluate_selected(
    learner: Learner, progress: TrainingProgress, task: TrainingTask, images: TrainingImages
) -> dict[str, float]:
    """Score the selected checkpoint on the shifted sets."""
    if not images.shifted:
        return {}
    assert progress.best_epoch is not None
    directory = task.checkpoints.directory
    network = learner.evaluated_network
    network.model.load_state_dict(checkpoint.load_weights(checkpoint.best_folder(directory, progress.best_epoch)))
    logits = predict_sets(network, images.shifted)
    save_scores(directory, logits, task.data.shifted)
    return evaluate_shifted(logits, task.data)


def _save(learner: Learner, progress: TrainingProgress, task: TrainingTask, logits: NDArray[np.float64]) -> None:
    """Write the checkpoint to resume from, and the selected checkpoint if it is this epoch's."""
    selected = _selected_checkpoint(learner, progress, task, logits) if progress.best_epoch == progress.epoch else None
    is_last = find_stop_reason(task.config, progress.history) is not None
    task.checkpoints.save_epoch(progress, None if is_last else learner, selected)


def _selected_checkpoint(
    learner: Learner, progress: TrainingProgress, task: TrainingTask, logits: NDArray[np.float64]
) -> SelectedCheckpoint:
    config, data = task.config, task.data
    card = CheckpointCard(
        depth=config.depth,
        classes=data.classes,
        preprocessing=preprocessing(config, data),
        epoch=progress.epoch,
        metrics=dict(progress.history[-1].values),
        config=config.model_dump(),
        data_fingerprint=data.fingerprint,
        precision=learner.network.precision,
        device=learner.network.device.type,
    )
    return SelectedCheckpoint(
        learner.evaluated_network.model.state_dict(), card, metrics.probabilities(logits), data.val_labels,
        data.val_ids, data.val_groups, learner.frozen,
    )  # fmt: skip


def preprocessing(config: TrialConfig, data: TrainingData) -> dict[str, object]:
    """Describe the input a model expects, for deployment."""
    mean, std = normalization(config, data)
    return {
        "image_size_px": data.train_images.shape[1],
        "resize": RESIZE_WORDS[data.resize],
        "resize_mode": data.resize,
        "mean": list(mean),
        "std": list(std),
        **({} if data.framing is None else {"framing": dict(data.framing)}),
    }
