"""Optimizers, learning-rate schedules and the moving average of weights: one function and one registry line each."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.training.models.architectures import HEAD


class WeightAverage:
    """An exponential moving average of weights and batch-norm statistics (Polyak & Juditsky 1992).

    The decay at step n is min(decay, (1 + n) / (10 + n)), as in TensorFlow: else the first epochs would mostly score
    the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float, frozen: frozenset[str] = frozenset()) -> None:
        """Begin with a model's weights; those named ``frozen`` never change and are their own average."""
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay, self._frozen = decay, frozen
        self._steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average with the model's weights."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        own, new = self.model.state_dict(), model.state_dict()
        own = {name: tensor for name, tensor in own.items() if name not in self._frozen}
        floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
        average = get_ema_multi_avg_fn(decay)
        average([own[name] for name in floating], [new[name] for name in floating], self._steps)
        for name in own.keys() - set(floating):  # counters of batches
            own[name].copy_(new[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from, without what is frozen."""
        state = self.model.state_dict()
        return {"steps": self._steps, "model": {name: state[name] for name in state.keys() - self._frozen}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._steps = state["steps"]
        self.model.load_state_dict({**self.model.state_dict(), **state["model"]})


Groups = list[dict[str, Any]]
BASE_RATE = "base_lr"
"""Key of a parameter group: its learning rate before the schedule."""


def sgd(groups: Groups, config: TrialConfig) -> torch.optim.Optimizer:
    """Make stochastic gradient descent with classical or Nesterov momentum, which are the same at 0."""
    momentum = config.resolved_momentum()
    assert momentum is not None
    return torch.optim.SGD(groups, momentum=momentum, nesterov=config.nesterov and momentum > 0, fused=True)


def adam(groups: Groups, config: TrialConfig) -> torch.optim.Optimizer:
    """Make Adam (Kingma & Ba 2015) with torch's betas; weight decay is the L2 term, as in torch."""
    return torch.optim.Adam(groups, fused=True)


def adamw(groups: Groups, config: TrialConfig) -> torch.optim.Optimizer:
    """Make AdamW (Loshchilov & Hutter 2019) with torch's betas; weight decay shrinks the weights themselves."""
    return torch.optim.AdamW(groups, fused=True)


def rmsprop(groups: Groups, config: TrialConfig) -> torch.optim.Optimizer:
    """Make RMSprop (Tieleman & Hinton 2012) as torch does, without momentum; weight decay is the L2 term."""
    return torch.optim.RMSprop(groups)


OPTIMIZERS: dict[str, Callable[[Groups, TrialConfig], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}


def build_optimizer(model: nn.Module, config: TrialConfig) -> torch.optim.Optimizer:
    """Make the optimizer of ``config`` over the parameters that are not frozen."""
    return OPTIMIZERS[config.optimizer](parameter_groups(model, config), config)


def parameter_groups(model: nn.Module, config: Hyperparameters) -> Groups:
    """Group the trained parameters by learning rate and weight decay, the head's last.

    Norms and biases are the parameters with one dimension.
    """
    by_settings: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own_rate = not name.startswith(HEAD) and config.backbone_learning_rate_factor != 1
            decays = config.decay_norms_and_biases or parameter.ndim > 1
            by_settings.setdefault((own_rate, decays), []).append(parameter)
    groups: Groups = []
    for (own_rate, decays), parameters in sorted(by_settings.items(), reverse=True):
        rate = config.learning_rate * (config.backbone_learning_rate_factor if own_rate else 1)
        decay = config.weight_decay if decays else 0.0
        groups.append({"params": parameters, "lr": rate, BASE_RATE: rate, "weight_decay": decay})
    return groups


@contextmanager
def contiguous_weights(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Show a fused optimizer weights that lie channels last as what they are in memory: contiguous [O, H, W, I].

    On a CPU torch 2.15 copies every gradient that is not contiguous, half of the time of a step, and never reads the
    copy. Parameters, their gradients and the optimizer's state are as always when the block ends.
    """
    before = [group["params"] for group in optimizer.param_groups]
    for group in optimizer.param_groups if optimizer.defaults.get("fused") else ():
        group["params"] = [_show(optimizer, parameter) for parameter in group["params"]]
    try:
        yield
    finally:
        for group, parameters in zip(optimizer.param_groups, before, strict=True):
            for parameter, seen in zip(parameters, group["params"], strict=True):
                if seen is not parameter and seen in optimizer.state:
                    optimizer.state[parameter] = _reordered(optimizer.state.pop(seen), (0, 3, 1, 2))
            group["params"] = parameters


def _show(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    is_channels_last = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    if parameter.device.type != "cpu" or not is_channels_last or parameter.is_contiguous() or parameter.grad is None:
        return parameter
    seen = nn.Parameter(parameter.detach().permute(0, 2, 3, 1))  # [O, I, H, W] -> [O, H, W, I]
    seen.grad = parameter.grad.permute(0, 2, 3, 1)
    if parameter in optimizer.state:
        optimizer.state[seen] = _reordered(optimizer.state[parameter], (0, 2, 3, 1))
    return seen


def _reordered(state: Mapping[str, Any], axes: tuple[int, ...]) -> dict[str, Any]:
    return {
        name: value.permute(axes) if isinstance(value, torch.Tensor) and value.ndim == 4 else value
        for name, value in state.items()
    }


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its base rate times a schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group[BASE_RATE] * factor


RISE_SHARE = 0.3
DIV_FACTOR = 25.0
FINAL_DIV_FACTOR = 1e4
"""Of the one-cycle schedule; torch's defaults."""


@dataclass(frozen=True)
class SchedulePosition:
    """A point in a trial's schedule; ``step`` counts optimizer steps from 0, over all epochs."""

    step: int
    steps_per_epoch: int
    max_epochs: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the trial."""
        return self.steps_per_epoch * self.max_epochs

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.step // self.steps_per_epoch


def learning_rate_factor(config: Hyperparameters, position: SchedulePosition) -> float:
    """Return the factor of the learning rate at a step.

    A warm-up of W = warmup_epochs * steps_per_epoch steps precedes the schedule: step s (from 0) has the factor
    (s + 1) / (W + 1). For ``one_cycle`` it is the length of the rise, at least one step, where 0 means 30 % of the
    trial. A function of the step alone has no state to resume.
    """
    warm = round(config.warmup_epochs * position.steps_per_epoch)
    if config.schedule == "one_cycle" and config.warmup_epochs > 0:
        warm = max(1, warm)  # 0 stands for the usual rise
    if config.schedule != "one_cycle" and position.step < warm:
        return (position.step + 1) / (warm + 1) * SCHEDULES[config.schedule](config, position, position.step)
    return SCHEDULES[config.schedule](config, position, warm)


def constant(config: Hyperparameters, position: SchedulePosition, warm: int) -> float:
    """Keep the learning rate."""
    return 1.0


def multistep(config: Hyperparameters, position: SchedulePosition, warm: int) -> float:
    """Multiply by gamma after each of the milestones, which count whole epochs."""
    return float(config.gamma ** sum(position.epoch >= milestone for milestone in config.milestones))


def cosine(config: Hyperparameters, position: SchedulePosition, warm: int) -> float:
    """Fall along half a cosine to 0, step by step (Loshchilov & Hutter 2017, without restarts)."""
    left = max(1, position.total_steps - warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (position.step - warm) / left)))


def one_cycle(config: Hyperparameters, position: SchedulePosition, warm: int) -> float:
    """Rise from 1/25, then fall to 1/250000, along cosines (Smith & Topin 2018; torch's form, momentum left alone)."""
    top = (warm or RISE_SHARE * position.total_steps) - 1
    last = position.total_steps - 1
    if position.step <= top:
        return _between(1 / DIV_FACTOR, 1.0, position.step / top if top else 1.0)
    return _between(1.0, 1 / DIV_FACTOR / FINAL_DIV_FACTOR, (position.step - top) / max(1e-9, last - top))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES: dict[str, Callable[[Hyperparameters, SchedulePosition, int], float]] = {
    "constant": constant,
    "multistep": multistep,
    "cosine": cosine,
    "one_cycle": one_cycle,
}
