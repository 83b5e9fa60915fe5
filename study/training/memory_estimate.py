"""The memory of a trial: a few of its steps on random images to measure it, and a bound from shapes alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.training.dataset import EVAL_BATCH_SIZE, DeviceImages
from study.training.learner import make_learner, train_epoch
from study.training.models.architectures import Network, build_model
from study.training.training_data import TrainingData

AUGMENTATION = "rotate(15)+trivial+blur(1)+mixup(0.2)"
"""Takes more memory than most augmentations."""
IMAGES = 16
CLASSES = 1000
_STEPS_FULL = 2


def run_sample_steps(config: Hyperparameters, image_size_px: int, device: torch.device) -> None:
    """Train three steps, the last on half a batch, and validate two batches.

    Only ``IMAGES`` images, used repeatedly, are on the device: a trial's own images are not part of its memory.
    """
    changes = {"init": "kaiming", "augmentation": AUGMENTATION, "class_weights": "none", "learning_rate": 1e-9}
    trial = TrialConfig.model_validate({**config.model_dump(), **changes, "seed": 0, "point": 0})
    data = _random_data(image_size_px)
    learner = make_learner(trial, data, device)
    images = DeviceImages(data.train_images, data.train_labels, device, classes=CLASSES)
    order = torch.arange(_STEPS_FULL * trial.batch_size + trial.batch_size // 2) % IMAGES
    train_epoch(learner, images, order, trial, epoch=1)
    _validate(learner.evaluated_network, images)


@torch.inference_mode()
def _validate(network: Network, images: DeviceImages) -> None:
    network.model.eval()
    for _ in range(2):  # the previous batch is still in memory while the next is made
        batch, _ = images.take(torch.arange(EVAL_BATCH_SIZE) % IMAGES, channels_last=network.channels_last)
        network.logits(images.normalize(batch))


def _random_data(image_size_px: int) -> TrainingData:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, image_size_px, image_size_px, 3), dtype=np.uint8)
    labels = np.arange(IMAGES, dtype=np.int64)
    return TrainingData(images, labels, images, labels, tuple(map(str, range(CLASSES))), "random")


def estimate_memory_bytes(config: Hyperparameters, image_size_px: int) -> int:
    """Estimate a trial's memory from shapes alone, accurately enough to sort trials by it.

    Counts the outputs of all layers, in float32 unless the precision is bf16, and in float32 the weights, gradients,
    two states of an optimizer and the moving average.
    """
    width = config.head_width if config.head == "mlp" else 1
    outputs, weights = _sizes(config.family, config.depth, config.head, width, image_size_px)
    copies = 4 + (config.ema_decay is not None)
    return outputs * config.batch_size * (2 if config.precision == "bf16" else 4) + 4 * copies * weights


@cache
def _sizes(family: str, depth: int, head: str, head_width: int, image_size_px: int) -> tuple[int, int]:
    """Count the numbers all layers put out for one image, and the weights."""
    architecture = {"family": family, "depth": depth, "head": head, "head_width": head_width}
    with torch.device("meta"), torch.no_grad():
        model = build_model(Hyperparameters.model_validate(architecture), CLASSES).eval()
        counted: list[int] = []
        for module in model.modules():
            if not any(module.children()):
                module.register_forward_hook(lambda module, inputs, output: counted.append(output.numel()))
        model(torch.empty(1, 3, image_size_px, image_size_px))
    return sum(counted), sum(parameter.numel() for parameter in model.parameters())
