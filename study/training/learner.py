"""One epoch of training: the network with its optimizer, loss and schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.config.hyperparameters import TrialConfig
from study.config.study_config import stable_seed
from study.training import device as devices
from study.training.augmentation.pipeline import build_augmenter
from study.training.dataset import (
    FIXED_NORMALIZATIONS,
    Batches,
    Channels,
    augmentation_generator,
    balanced_order,
    batch_bounds,
    epoch_order,
)
from study.training.frozen.weights import FrozenWeights
from study.training.losses import Criterion, EpochLoss
from study.training.models.architectures import Network, build_model, freeze_parts, set_training, to_device
from study.training.models.initialization import Weights, initialize
from study.training.optimization import (
    SchedulePosition,
    WeightAverage,
    build_optimizer,
    contiguous_weights,
    learning_rate_factor,
    set_learning_rate,
)
from study.training.training_data import TrainingData


@dataclass(frozen=True)
class Learner:
    """A network, its optimizer and loss, its frozen weights, and the moving average of all if the trial uses one."""

    network: Network
    optimizer: torch.optim.Optimizer
    criterion: Criterion
    frozen: FrozenWeights
    average: WeightAverage | None = None

    @property
    def evaluated_network(self) -> Network:
        """The network that is evaluated and saved: the moving average if there is one."""
        if self.average is None:
            return self.network
        return replace(self.network, model=self.average.model)


def make_learner(
    config: TrialConfig, data: TrainingData, device: torch.device, weights: Weights | None = None
) -> Learner:
    """Build model, optimizer and loss with the trial's initial weights on the device."""
    with torch.device("meta"):  # or torch would draw every weight once more
        model = build_model(config, data.outputs)
    model.to_empty(device="cpu")
    initialize(model, config.init, stable_seed(config.seed, "init"), weights)
    freeze_parts(model, config.freeze)
    network = to_device(model, device, *devices.resolve_precision(config, device), is_trained=True)
    network = replace(network, freeze=config.freeze)
    frozen = FrozenWeights.of(model, config.freeze)
    return Learner(
        network=network,
        optimizer=build_optimizer(model, config),
        criterion=Criterion(config, data.class_counts, device),
        frozen=frozen,
        average=WeightAverage(model, config.ema_decay, frozen.names) if config.ema_decay else None,
    )


def normalization(config: TrialConfig, data: TrainingData) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of each channel, of pixels in [0, 1]."""
    if config.normalization == "dataset":
        return data.mean, data.std
    return FIXED_NORMALIZATIONS[config.normalization]


def image_order(config: TrialConfig, labels: NDArray[np.int64], epoch: int) -> torch.Tensor:
    """Return the indices of an epoch's training images in order: [N]."""
    if config.sampling == "balanced":
        return balanced_order(labels, config.seed, epoch)
    return epoch_order(len(labels), config.seed, epoch)


def train_epoch(
    learner: Learner, images: Batches, order: torch.Tensor, config: TrialConfig, epoch: int
) -> dict[str, float]:
    """Train one epoch.

    Args:
        learner: changed in place.
        images: the training images.
        order: [N], indices of the images in the order they are used.
        config: the trial's.
        epoch: from 1; augmentation, dropout and schedule depend on it.

    Returns:
        train_loss, train_accuracy and learning_rate, the head's at the last step.

    Raises:
        NonFiniteLossError: at most ``STEPS_UNREAD`` steps later.
    """
    network = learner.network
    set_training(network.model, config.freeze)
    # nn.Dropout draws from torch's global generators: seeded here, restored afterwards.
    with torch.random.fork_rng(devices=[network.device] if network.device.type == "cuda" else []):
        torch.manual_seed(stable_seed(config.seed, "dropout", epoch))
        return _train_batches(learner, images, order, config, epoch)


def _train_batches(
    learner: Learner, images: Batches, order: torch.Tensor, config: TrialConfig, epoch: int
) -> dict[str, float]:
    network = learner.network
    augment, stream = build_augmenter(config.augmentation), augmentation_generator(config.seed, epoch)
    bounds = list(batch_bounds(len(order), config.batch_size))
    order = order.to(network.device)  # once, or every batch would wait for a transfer
    losses = EpochLoss(f"in epoch {epoch}", "learning_rate", config.learning_rate)
    correct = torch.zeros((), device=network.device)
    for batch_index, (start, stop) in enumerate(bounds):
        position = SchedulePosition((epoch - 1) * len(bounds) + batch_index, len(bounds), config.max_epochs)
        set_learning_rate(learner.optimizer, learning_rate_factor(config, position))
        batch, targets = images.take(order[start:stop], channels_last=network.channels_last)
        batch, targets = augment(batch, targets, stream)
        logits = network.logits(images.normalize(batch))  # [B] or [B, K]
        loss = learner.criterion(logits, targets)
        _step(learner, loss, config.clip_grad_norm)
        losses.add(loss.detach(), start, stop)
        correct += (predicted_classes(logits.detach()) == targets.argmax(1)).sum()
    return {
        "train_loss": losses.mean(),
        "train_accuracy": float(correct) / len(order),
        "learning_rate": float(learner.optimizer.param_groups[-1]["lr"]),
    }


def _step(learner: Learner, loss: torch.Tensor, clip_grad_norm: float | None) -> None:
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clip_grad_norm is not None:
        nn.utils.clip_grad_norm_(learner.network.model.parameters(), clip_grad_norm)
    with contiguous_weights(learner.optimizer):
        learner.optimizer.step()
    if learner.average is not None:
        learner.average.update(learner.network.model)


def predicted_classes(logits: torch.Tensor) -> torch.Tensor:
    """Return the predicted class of each image: [B], from logits [B] or [B, K]."""
    return (logits > 0).long() if logits.ndim == 1 else logits.argmax(1)
