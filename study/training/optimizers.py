"""Make the optimizer a trial asks for; one registry entry per name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from study.hyperparameters import Hyperparameters, TrialConfig
from study.training.models import HEAD

Groups = list[dict[str, Any]]
BASE_RATE = "base_lr"
"""Key of a parameter group: its learning rate before the schedule."""


def sgd(groups: Groups, config: TrialConfig) -> torch.optim.Optimizer:
    """Make stochastic gradient descent with classical momentum, or Nesterov's, which are one and the same at 0."""
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


OPTIMIZERS: Mapping[str, Callable[[Groups, TrialConfig], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}


def build_optimizer(model: nn.Module, config: TrialConfig) -> torch.optim.Optimizer:
    """Make the optimizer of ``config`` over the parameters that are not frozen."""
    return OPTIMIZERS[config.optimizer](parameter_groups(model, config), config)


def parameter_groups(model: nn.Module, config: Hyperparameters) -> Groups:
    """Sort the parameters that are trained by their learning rate and weight decay; the head's group is the last.

    Norms and biases are the parameters with one dimension.
    """
    sorted_by: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own_rate = not name.startswith(HEAD) and config.backbone_learning_rate_factor != 1
            decays = config.decay_norms_and_biases or parameter.ndim > 1
            sorted_by.setdefault((own_rate, decays), []).append(parameter)
    groups: Groups = []
    for (own_rate, decays), parameters in sorted(sorted_by.items(), reverse=True):
        rate = config.learning_rate * (config.backbone_learning_rate_factor if own_rate else 1)
        decay = config.weight_decay if decays else 0.0
        groups.append({"params": parameters, "lr": rate, BASE_RATE: rate, "weight_decay": decay})
    return groups


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its own learning rate times a schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group[BASE_RATE] * factor
