"""Set a model's initial weights, reproducibly; one registry entry per ``init``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from study.errors import WeightsError

Weights = Mapping[str, torch.Tensor]
HEAD = "fc."


def kaiming(model: nn.Module, weights: Weights | None) -> None:
    """Draw convolutions as He et al. 2015 do for ReLU nets (normal, fan out)."""
    _draw(model, lambda tensor: nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu"))


def xavier(model: nn.Module, weights: Weights | None) -> None:
    """Draw convolutions as Glorot & Bengio 2010 do (normal, mean of fan in and fan out)."""
    _draw(model, nn.init.xavier_normal_)


def imagenet(model: nn.Module, weights: Weights | None) -> None:
    """Load torchvision's ImageNet weights, all but the last layer, which is drawn anew.

    Raises:
        WeightsError: no weights were handed over, or a layer's shape does not fit.
    """
    if weights is None:
        raise WeightsError("`init: imagenet` must be handed resolved weights, but got none; resolve them first")
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)}
    own = model.state_dict()
    for name, tensor in own.items():
        if name.startswith(HEAD):
            continue
        given = backbone.get(name)
        if given is None or given.shape != tensor.shape:
            found = "nothing" if given is None else f"shape {list(given.shape)}"
            raise WeightsError(
                f"layer `{name}` must have shape {list(tensor.shape)}, but the ImageNet weights hold {found}; "
                "remove the damaged file from torch's hub cache and try again"
            )
    model.load_state_dict(backbone, strict=False)


INITIALIZERS: dict[str, Callable[[nn.Module, Weights | None], None]] = {
    "kaiming": kaiming,
    "xavier": xavier,
    "imagenet": imagenet,
}


def initialize(model: nn.Module, init: str, seed: int, weights: Weights | None = None) -> None:
    """Set all weights in place; the same seed gives the same weights whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        INITIALIZERS[init](model, weights)


def _draw(model: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            draw(module.weight)
