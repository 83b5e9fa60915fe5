"""Pretraining without labels: a backbone learns to predict by how much the training images are rotated.

Source: Gidaris, Singh & Komodakis 2018, "Unsupervised representation learning by predicting image rotations".
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from study.config.hyperparameters import Hyperparameters
from study.config.study_config import RotationSpec, stable_seed
from study.training import device as devices
from study.training.augmentation.pipeline import build_augmenter
from study.training.dataset import FIXED_NORMALIZATIONS, DeviceImages, augmentation_generator, batch_bounds, epoch_order
from study.training.losses import EpochLoss
from study.training.models.architectures import HEAD, Network, build_model, to_device
from study.training.models.initialization import initialize
from study.training.optimization import contiguous_weights

TURNS = 4
NORMALIZATION = FIXED_NORMALIZATIONS["imagenet"]


@dataclass(frozen=True)
class PretrainedBackbone:
    """A backbone that tells 0, 90, 180 and 270 degrees apart; ``accuracy`` is on validation images, chance is 0.25."""

    weights: dict[str, torch.Tensor]
    accuracy: float
    seconds: float


def pretrain(
    model: Hyperparameters,
    settings: RotationSpec,
    train_images: NDArray[np.uint8],
    val_images: NDArray[np.uint8],
    *,
    seed: int,
    device: torch.device,
) -> PretrainedBackbone:
    """Train a model of the given family and depth on rotated images, without labels.

    Args:
        model: only family, depth, precision and channels_last matter; the head is one linear layer.
        settings: epochs, batch size, learning rate and augmentation.
        train_images: uint8 [N, S, S, 3].
        val_images: uint8 [M, S, S, 3], for the accuracy.
        seed: of weights, order and augmentation.
        device: to train on.

    Raises:
        NonFiniteLossError: the loss is not finite; a lower rotation.learning_rate is the usual way out.
    """
    started = time.perf_counter()
    network = to_device(_model(model, seed), device, *devices.resolve_precision(model, device), is_trained=True)
    optimizer = torch.optim.Adam(network.model.parameters(), lr=settings.learning_rate, fused=True)
    images = _unlabelled(train_images, device)
    for epoch in range(1, settings.epochs + 1):
        # Half a cosine down to 0.
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / settings.epochs))
        _train_epoch(network, optimizer, images, settings, seed, epoch)
    accuracy = _accuracy(network, _unlabelled(val_images, device))
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.model.state_dict().items()}
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)}
    return PretrainedBackbone(backbone, accuracy, time.perf_counter() - started)


def rotate_four_ways(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return every image rotated by 0, 90, 180 and 270 degrees, and the class of each: [4B, C, S, S] and [4B]."""
    copies = torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(TURNS)])
    if images.is_contiguous(memory_format=torch.channels_last):
        copies = copies.contiguous(memory_format=torch.channels_last)
    return copies, torch.arange(TURNS, device=images.device).repeat_interleave(len(images))


def _train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    images: DeviceImages,
    settings: RotationSpec,
    seed: int,
    epoch: int,
) -> None:
    network.model.train()
    augment, stream = build_augmenter(settings.augmentation), augmentation_generator(seed, epoch)
    order = epoch_order(len(images), seed, epoch)
    losses = EpochLoss(f"for init rotation in epoch {epoch}", "rotation.learning_rate", settings.learning_rate)
    for start, stop in batch_bounds(len(images), settings.batch_size):
        batch, targets = images.take(order[start:stop], channels_last=network.channels_last)
        batch, _ = augment(batch, targets, stream)
        copies, turns = rotate_four_ways(images.normalize(batch))
        loss = functional.cross_entropy(network.logits(copies), turns)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        with contiguous_weights(optimizer):
            optimizer.step()
        losses.add(loss.detach(), start, stop)
    losses.mean()  # names a loss that is not finite


@torch.inference_mode()
def _accuracy(network: Network, images: DeviceImages) -> float:
    network.model.eval()
    right = 0
    for start, stop in batch_bounds(len(images), 64):
        batch, _ = images.take(torch.arange(start, stop), channels_last=network.channels_last)
        copies, turns = rotate_four_ways(images.normalize(batch))
        right += int((network.logits(copies).argmax(1) == turns).sum())
    return right / (TURNS * len(images))


def _unlabelled(images: NDArray[np.uint8], device: torch.device) -> DeviceImages:
    return DeviceImages(images, np.zeros(len(images), np.int64), device, normalization=NORMALIZATION)


def _model(model: Hyperparameters, seed: int) -> torch.nn.Module:
    built = build_model(model.model_copy(update={"head": "linear", "head_dropout": 0.0}), TURNS)
    initialize(built, "kaiming", stable_seed(seed, "rotation"))
    return built
