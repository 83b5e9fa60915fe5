"""Size a model without making its weights: parameters, operations, bytes of its checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import KeepSpec
from study.planning.workload import ImageCounts
from study.training.models.architectures import build_model, freeze_parts
from study.training.optimization import build_optimizer

_IMAGES = 2  # a batch norm needs two


@dataclass(frozen=True)
class TrialFileSizes:
    """What the files of one trial take: those of its selected checkpoint, and those it would go on from."""

    best_bytes: int
    last_bytes: int

    @property
    def running_bytes(self) -> int:
        """The most while it runs: both, and one of them being written anew."""
        return self.best_bytes + 2 * self.last_bytes


def count_parameters(family: str, depth: int) -> int:
    """Count the parameters of a backbone with one output."""
    model = _on_meta(Hyperparameters.model_validate({"family": family, "depth": depth}), 1)
    return sum(one.numel() for one in model.parameters())


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
    """Size a trial's files; a few kilobytes of names and metrics are left out.

    Args:
        config: the trial's.
        outputs: logits of its model.
        val_images: whose scores and labels lie beside the selected weights.
    """
    model = _on_meta(config, outputs)
    freeze_parts(model, config.freeze)
    state = sum(one.numel() * one.element_size() for one in model.state_dict().values())
    trained = sum(one.numel() * one.element_size() for one in model.parameters() if one.requires_grad)
    copies = optimizer_copies(config)
    scores = val_images * 8 * (outputs + 1)
    averaged = state if config.ema_decay else 0
    return TrialFileSizes(best_bytes=state + scores, last_bytes=state + copies * trained + averaged + scores)


def optimizer_copies(config: TrialConfig) -> int:
    """Count the numbers an optimizer keeps for each number it trains, by one step on a small parameter."""
    model = nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer(model, config)
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    state = optimizer.state[model.weight].values()
    return sum(isinstance(value, torch.Tensor) and value.shape == model.weight.shape for value in state)


def _on_meta(config: Hyperparameters, outputs: int) -> nn.Module:
    with torch.device("meta"):
        return build_model(config, outputs)


@dataclass(frozen=True)
class DiskUsage:
    """The most bytes at any time, by what they are for; ``memory_bytes`` is shared by the trials of a node."""

    running_bytes: int
    kept_bytes: int
    weights_bytes: int
    images_bytes: int
    images_cached: bool
    memory_bytes: int

    @property
    def disk_bytes(self) -> int:
        """All that is written, the decoded images too where they are not there already."""
        new = 0 if self.images_cached else self.images_bytes
        return self.running_bytes + self.kept_bytes + self.weights_bytes + new


def disk_usage(
    footprints: Sequence[TrialFileSizes],
    slots: int,
    keep: KeepSpec,
    pictures: ImageCounts,
    *,
    weights: Mapping[tuple[str, str, int], int],
) -> DiskUsage:
    """Add up the most that a study's files take.

    Args:
        footprints: of every trial, in any order; the largest count, because they may come together.
        slots: trials that run at once.
        keep: how many trials' weights stay.
        pictures: the study's images.
        weights: bytes of those that trials begin with, by init, family and depth.
    """
    running = sorted((one.running_bytes for one in footprints), reverse=True)[:slots]
    kept = len(footprints) if keep.per_study == "all" else min(keep.per_study, len(footprints))
    largest = sorted((one.best_bytes for one in footprints), reverse=True)[:kept]
    stored = sum(size for (init, _, _), size in weights.items() if init != "imagenet")
    return DiskUsage(
        running_bytes=sum(running),
        kept_bytes=sum(largest),
        weights_bytes=stored,
        images_bytes=max(pictures.decoded_bytes, pictures.cached_bytes),
        images_cached=pictures.cached_bytes > 0,
        memory_bytes=pictures.shared_bytes + sum(weights.values()),
    )
