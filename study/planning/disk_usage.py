"""Compute the size of a model without allocating it: parameters, operations, bytes of checkpoints and disk."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import KeepSpec
from study.planning.workload import ImageCounts
from study.training.frozen.weights import FrozenWeights
from study.training.models.architectures import build_model, freeze_parts
from study.training.optimization import build_optimizer

_IMAGES = 2  # a batch norm needs two


@dataclass(frozen=True)
class TrialFileSizes:
    """Bytes of one trial's files: of its selected checkpoint, and of the one from which it is resumed."""

    best_bytes: int
    last_bytes: int

    @property
    def running_bytes(self) -> int:
        """The maximum while it runs: both, and a new version of the latter being written."""
        return self.best_bytes + 2 * self.last_bytes


def count_parameters(family: str, depth: int) -> int:
    """Count the parameters of a backbone with one output."""
    model = _on_meta(Hyperparameters.model_validate({"family": family, "depth": depth}), 1)
    return sum(parameter.numel() for parameter in model.parameters())


@functools.cache
def training_flops(family: str, depth: int, freeze: str, image_size_px: int) -> float:
    """Count the floating-point operations of one training step, per image: forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    model = _on_meta(Hyperparameters.model_validate({"family": family, "depth": depth}), 1)
    freeze_parts(model, freeze)
    with FlopCounterMode(display=False) as counter:
        images = torch.empty(_IMAGES, 3, image_size_px, image_size_px, device="meta")
        model(images).sum().backward()
    return float(counter.get_total_flops()) / _IMAGES


def trial_file_sizes(config: TrialConfig, outputs: int, val_images: int) -> TrialFileSizes:
    """Return the bytes of a trial's files, except a few kilobytes of names and metrics.

    Args:
        config: the trial's configuration.
        outputs: number of logits.
        val_images: number of images whose scores and labels are stored beside the selected weights.
    """
    model = _on_meta(config, outputs)
    freeze_parts(model, config.freeze)
    frozen = FrozenWeights.of(model, config.freeze).names
    sizes = {name: _bytes(tensor) for name, tensor in model.state_dict().items()}
    state, changed = sum(sizes.values()), sum(size for name, size in sizes.items() if name not in frozen)
    trained = sum(_bytes(parameter) for parameter in model.parameters() if parameter.requires_grad)
    copies = optimizer_copies(config)
    scores = val_images * 8 * (outputs + 1)
    averaged = changed if config.ema_decay else 0
    return TrialFileSizes(best_bytes=state + scores, last_bytes=changed + copies * trained + averaged + scores)


def optimizer_copies(config: TrialConfig) -> int:
    """Count the numbers an optimizer keeps for each number it trains, by one step on a small parameter."""
    model = nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer(model, config)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    state = optimizer.state[model.weight].values()
    return sum(isinstance(value, torch.Tensor) and value.shape == model.weight.shape for value in state)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _on_meta(config: Hyperparameters, outputs: int) -> nn.Module:
    with torch.device("meta"):
        return build_model(config, outputs)


@dataclass(frozen=True)
class DiskUsage:
    """The maximum bytes at any time, by purpose; ``memory_bytes`` is shared by the trials of a node."""

    running_bytes: int
    kept_bytes: int
    weights_bytes: int
    images_bytes: int
    images_cached: bool
    memory_bytes: int

    @property
    def disk_bytes(self) -> int:
        """Everything that is written, including the decoded images if they are not cached yet."""
        new = 0 if self.images_cached else self.images_bytes
        return self.running_bytes + self.kept_bytes + self.weights_bytes + new


def disk_usage(
    sizes: Sequence[TrialFileSizes],
    slots: int,
    keep: KeepSpec,
    pictures: ImageCounts,
    *,
    weights: Mapping[tuple[str, str, int], int],
) -> DiskUsage:
    """Add up the maximum that a study's files take.

    Args:
        sizes: of every trial, in any order; the largest count, because they may run at the same time.
        slots: trials that run at once.
        keep: how many trials keep their weights.
        pictures: the study's images.
        weights: bytes of the initial weights, by init, family and depth.
    """
    running = sorted((trial.running_bytes for trial in sizes), reverse=True)[:slots]
    kept = len(sizes) if keep.per_study == "all" else min(keep.per_study, len(sizes))
    largest = sorted((trial.best_bytes for trial in sizes), reverse=True)[:kept]
    stored = sum(size for (init, _, _), size in weights.items() if init != "imagenet")
    return DiskUsage(
        running_bytes=sum(running),
        kept_bytes=sum(largest),
        weights_bytes=stored,
        images_bytes=max(pictures.decoded_bytes, pictures.cached_bytes),
        images_cached=pictures.cached_bytes > 0,
        memory_bytes=pictures.shared_bytes + sum(weights.values()),
    )
