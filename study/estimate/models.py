"""Size a model without making its weights: parameters, operations, bytes of its checkpoints."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import nn

from study.hyperparameters import Hyperparameters, TrialConfig
from study.training.models import build_model, freeze_parts

COPIES = {"sgd": 1, "adam": 2, "adamw": 2, "rmsprop": 1}
"""How many numbers an optimizer keeps for each that it changes; SGD none without momentum."""
_IMAGES = 2  # a batch norm needs two


@dataclass(frozen=True)
class Footprint:
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


def footprint(config: TrialConfig, outputs: int, val_images: int) -> Footprint:
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
    copies = COPIES[config.optimizer] if config.optimizer != "sgd" or config.resolved_momentum() else 0
    scores = val_images * 8 * (outputs + 1)
    averaged = state if config.ema_decay else 0
    return Footprint(best_bytes=state + scores, last_bytes=state + copies * trained + averaged + scores)


def _on_meta(config: Hyperparameters, outputs: int) -> nn.Module:
    with torch.device("meta"):
        return build_model(config, outputs)
