"""Initial weights of every family, and the shapes heads give."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchvision.models
from torch import nn
from training_kit import short_trial

from study.config.hyperparameters import DEPTHS, Hyperparameters
from study.training.models.architectures import build_model
from study.training.models.initialization import initialize

SHALLOW = [(family, depth) for family, depths in DEPTHS.items() for depth in depths if depth <= 50]
"""The deeper ones are built by ``test_training_models``; no layer of theirs is another."""
V1_BASIC, V1_BOTTLENECK, V2 = ("resnet", 18), ("resnet", 50), ("resnet_v2", 50)


def model_of(family: str, depth: int, outputs: int = 1, **head: Any) -> nn.Module:
    return build_model(Hyperparameters.model_validate({"family": family, "depth": depth, **head}), outputs)


def test_orthogonal_convolutions_are_so_times_the_gain_of_relu() -> None:
    model: Any = model_of("resnet", 10)
    initialize(model, "orthogonal", seed=1)
    kinds = set()
    for conv in (model.conv1, model.layer1[0].conv1, model.layer2[0].conv1, model.layer3[0].downsample[0]):
        rows = conv.weight.detach().double().flatten(1)  # [O, I, k, k] -> [O, I*k*k]
        wide = rows.shape[0] <= rows.shape[1]
        kinds.add(wide)
        products = rows @ rows.t() if wide else rows.t() @ rows
        assert torch.allclose(products, 2 * torch.eye(len(products), dtype=torch.float64), atol=1e-4)
    assert kinds == {True, False}


def blocks_of(model: nn.Module) -> list[nn.Module]:
    names = ("BasicBlock", "Bottleneck", "PreActBottleneck")
    return [one for one in model.modules() if type(one).__name__ in names]


def shortcut_of(block: Any, given: torch.Tensor) -> torch.Tensor:
    """Return what a block gives whose residual branch gives 0."""
    if type(block).__name__ == "PreActBottleneck":
        return given if block.downsample is None else block.downsample(block.norm1(given))
    return (given if block.downsample is None else block.downsample(given)).relu()


@pytest.mark.parametrize("family, depth", [V1_BASIC, V1_BOTTLENECK, V2])
@pytest.mark.parametrize("init, silent", [("zero_residual", True), ("kaiming", False)])
def test_every_residual_branch_begins_at_0_if_asked(family: str, depth: int, init: str, silent: bool) -> None:
    model = model_of(family, depth)
    initialize(model, init, seed=1)
    blocks = blocks_of(model)
    assert len(blocks) == {18: 8, 50: 16}[depth]
    stream = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for block in blocks[:5]:
            first: Any = next(one for one in block.modules() if isinstance(one, nn.Conv2d) and one.in_channels)
            given = torch.randn(2, first.in_channels, 4, 4, generator=stream).relu()
            assert torch.allclose(block.train()(given.clone()), shortcut_of(block, given), atol=1e-6) is silent


@pytest.mark.parametrize("family, depth", [V1_BASIC, V2])
def test_a_silent_branch_learns_nonetheless(family: str, depth: int) -> None:
    model = model_of(family, depth)
    initialize(model, "zero_residual", seed=1)
    model.train()(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))).sum().backward()
    for block in blocks_of(model):
        part: Any = block
        last = part.conv3.weight if family == "resnet_v2" else part.bn2.weight
        assert not last.any()
        assert last.grad.any()


@pytest.mark.parametrize("family, depth", SHALLOW)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("head", [{}, {"head_dropout": 0.5}, {"head": "mlp", "head_width": 7}], ids=str)
def test_every_model_builds_with_its_outputs(family: str, depth: int, outputs: int, head: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = model_of(family, depth, outputs, **head)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, outputs)
    features = 512 if family == "resnet" and depth < 50 else 2048
    of_head = {name: list(one.shape) for name, one in model.named_parameters() if name.startswith("fc.")}
    if head.get("head") == "mlp":
        shapes = {"fc.0.weight": [7, features], "fc.0.bias": [7], "fc.3.weight": [outputs, 7], "fc.3.bias": [outputs]}
    else:
        shapes = {"fc.weight": [outputs, features], "fc.bias": [outputs]}
    assert of_head == shapes


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_head_is_drawn_by_the_seed_as_torch_draws_a_linear_layer(head: str) -> None:
    model = model_of("resnet", 10, head=head, head_width=600)
    initialize(model, "kaiming", seed=4)
    again = model_of("resnet", 10, head=head, head_width=600)
    torch.rand(3)
    initialize(again, "kaiming", seed=4)
    for name, one in model.named_parameters():
        assert torch.equal(one, again.get_parameter(name))
    layers = [one for one in model.get_submodule("fc").modules() if isinstance(one, nn.Linear)]
    for layer in layers:
        limit = 1 / math.sqrt(layer.in_features)
        assert 0.9 * limit < layer.weight.abs().max() <= limit


def test_weights_without_counters_of_batches_fit() -> None:
    """Files from before batch norms counted have none, such as torchvision's resnet18-5c106cde with its 102 entries."""
    torch.manual_seed(9)
    old = {
        name: one
        for name, one in torchvision.models.resnet18(num_classes=1000).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert len(old) == 102
    model = build_model(short_trial(depth=18))
    initialize(model, "imagenet", 1, old)
    found = model.state_dict()
    assert all(torch.equal(found[name], one) for name, one in old.items() if not name.startswith("fc."))
