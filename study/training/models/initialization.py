"""Reproducible initial weights of a model: one function and one registry line for each ``init`` that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from study.errors import WeightsError
from study.training.models.architectures import HEAD
from study.utils.text import first_of, printable

Weights = Mapping[str, torch.Tensor]
WARM_STARTS = ("checkpoint:", "run:")
SHOWN_LAYERS = 3
FOREIGN_HEADS = (HEAD, "classifier.", "head.", "last_linear.", "backbone.head.")
"""How the layers behind a backbone are called, in our models and in others."""


def kaiming(model: nn.Module) -> None:
    """Draw convolutions as He et al. 2015 for ReLU nets (normal, fan out)."""
    _draw(model, lambda tensor: nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu"))


def xavier(model: nn.Module) -> None:
    """Draw convolutions as Glorot & Bengio 2010 (normal, mean of fan in and fan out)."""
    _draw(model, nn.init.xavier_normal_)


def orthogonal(model: nn.Module) -> None:
    """Draw convolutions as rows of random orthogonal matrices, scaled for ReLU (Saxe et al. 2014)."""
    gain = nn.init.calculate_gain("relu")
    _draw(model, lambda tensor: nn.init.orthogonal_(tensor, gain))


def zero_residual(model: nn.Module) -> None:
    """Draw as ``kaiming``, then zero the end of every residual branch: each block begins as its shortcut.

    The last batch-norm scale of a block is 0 (Goyal et al. 2017); a pre-activation block ends in a convolution, whose
    weights are 0 instead.
    """
    kaiming(model)
    module: Any
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif type(module).__name__ == "PreActBottleneck":
            nn.init.zeros_(module.conv3.weight)


INITIALIZERS: dict[str, Callable[[nn.Module], None]] = {
    "kaiming": kaiming,
    "xavier": xavier,
    "orthogonal": orthogonal,
    "zero_residual": zero_residual,
}


def initialize(model: nn.Module, init: str, seed: int, weights: Weights | None = None) -> None:
    """Set all weights in place; the same seed gives the same weights whatever ran before.

    Args:
        model: what ``build_model`` made.
        init: a key of ``INITIALIZERS``, or an init that loads weights.
        seed: of everything drawn.
        weights: for ``imagenet``, ``rotation``, ``checkpoint:PATH`` and ``run:RUN_ID``. Their head is loaded only for
            the last two, and only if all its layers fit; else it is drawn.

    Raises:
        WeightsError: weights are missing, or a layer's shape does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        if init in INITIALIZERS:
            INITIALIZERS[init](model)
            return
    if weights is None:
        raise WeightsError(f"`init: {init}` must be handed resolved weights, but got none; resolve them first")
    validate_weights(model, init, weights)
    model.load_state_dict(_without_unfit_head(model, init, weights), strict=False)


def validate_weights(model: nn.Module, init: str, weights: Weights) -> None:
    """Raise a WeightsError that names the layers of a backbone that differ; the model may be on ``meta``.

    A head, and layers that the model lacks, count only for weights somebody else made: published ones are known.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if _is_compared(name)}
    faults = []
    for name, tensor in own.items():
        given = weights.get(name)
        if given is None or given.shape != tensor.shape:
            shape = "nothing" if given is None else f"shape {list(given.shape)}"
            faults.append(f"layer `{name}` must have shape {list(tensor.shape)}, but the weights hold {shape}")
        elif not given.is_floating_point():
            faults.append(f"layer `{name}` must hold floating-point numbers, but the weights hold {given.dtype}")
    if len(faults) > SHOWN_LAYERS:
        faults[SHOWN_LAYERS:] = [f"and {len(faults) - SHOWN_LAYERS} more layers"]
    is_warm_start = init.startswith(WARM_STARTS)
    extra = [printable(name) for name in weights if name not in own and _is_compared(name)] if is_warm_start else []
    if extra:
        shown = first_of(extra, SHOWN_LAYERS)
        faults.append(f"the weights hold {len(extra)} layer{'s' * (len(extra) > 1)} that the model lacks: {shown}")
    if faults:
        way_out = (
            "give family and depth of the model they were trained as"
            if is_warm_start
            else "remove the damaged file from the download cache and try again"
        )
        raise WeightsError(f"init {init}: {'; '.join(faults)}; {way_out}")


def _is_compared(name: str) -> bool:
    """Whether a layer belongs to the backbone; files from before torch 0.4.1 have no counters of batches."""
    return not name.startswith(FOREIGN_HEADS) and not name.endswith("num_batches_tracked")


def head_fits(model: nn.Module, weights: Weights) -> bool:
    """Whether weights hold exactly the layers of a model's head."""
    own = {name: tensor.shape for name, tensor in model.state_dict().items() if name.startswith(HEAD)}
    return own == {name: tensor.shape for name, tensor in weights.items() if name.startswith(HEAD)}


def _without_unfit_head(model: nn.Module, init: str, weights: Weights) -> dict[str, torch.Tensor]:
    if init.startswith(WARM_STARTS) and head_fits(model, weights):
        return dict(weights)
    return {name: tensor for name, tensor in weights.items() if not name.startswith(HEAD)}


def _draw(model: nn.Module, draw: Callable[[torch.Tensor], object]) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            draw(module.weight)
