"""Make the optimizer a trial asks for; one registry entry per name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from study.hyperparameters import TrialConfig


def sgd(parameters: Iterable[nn.Parameter], config: TrialConfig) -> torch.optim.Optimizer:
    """Make stochastic gradient descent with classical momentum."""
    momentum = config.resolved_momentum()
    assert momentum is not None
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=momentum, weight_decay=config.weight_decay, fused=True
    )


def adam(parameters: Iterable[nn.Parameter], config: TrialConfig) -> torch.optim.Optimizer:
    """Make Adam (Kingma & Ba 2015) with torch's betas; weight decay is the L2 term, as in torch."""
    return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter], TrialConfig], torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": adam,
}


def build_optimizer(model: nn.Module, config: TrialConfig) -> torch.optim.Optimizer:
    """Make the optimizer of ``config`` over all of the model's parameters."""
    return OPTIMIZERS[config.optimizer](model.parameters(), config)
