"""Convolutions of small maps by matrix products give what torch.conv2d gives."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from study.config.hyperparameters import Hyperparameters
from study.training.models.architectures import build_model
from study.training.models.small_conv import SmallConv2d, dense_matrix, use_small_conv, weight_gradient

BF16_ROUNDING = 2.0**-8
"""Largest relative error of rounding one number to bf16, which has 8 significant bits."""
# kernel, stride, padding, height, width: those of ResNets, and some that only the arithmetic must survive
SHAPES = [
    (3, 1, 1, 1, 1),
    (3, 1, 1, 2, 2),
    (3, 2, 1, 2, 2),
    (3, 2, 1, 1, 1),
    (3, 2, 1, 3, 3),
    (3, 2, 1, 4, 4),
    (3, 1, 1, 4, 4),
    (3, 2, 1, 8, 8),
    (1, 1, 0, 2, 2),
    (1, 2, 0, 4, 4),
    (3, 1, 1, 2, 1),
    (3, 2, 1, 3, 5),
    (5, 2, 2, 4, 3),
    (3, 1, 0, 4, 4),
    (2, 2, 0, 5, 5),
]


@pytest.mark.parametrize("kernel, stride, padding, height, width", SHAPES)
def test_the_arithmetic_is_that_of_a_convolution(
    kernel: int, stride: int, padding: int, height: int, width: int
) -> None:
    torch.manual_seed(0)
    images, weight = torch.randn(3, 4, height, width), torch.randn(5, 4, kernel, kernel, requires_grad=True)
    maps = torch.conv2d(images, weight, None, stride, padding)
    above = torch.randn_like(maps)
    (expected,) = torch.autograd.grad(maps, weight, above)
    assert torch.allclose(weight_gradient(images, above, kernel, stride, padding), expected, atol=1e-5)
    matrix = dense_matrix(weight.detach(), height, width, stride, padding).float()
    product = images.permute(0, 2, 3, 1).flatten(1) @ matrix.t()
    assert torch.allclose(product, maps.permute(0, 2, 3, 1).flatten(1), atol=0.05, rtol=0.02)


def results(kernel: int, stride: int, height: int, width: int, *, layout: torch.memory_format) -> list[torch.Tensor]:
    """Return output, input gradient and weight gradient: first ours in bf16, then torch's in float32."""
    torch.manual_seed(0)
    plain = nn.Conv2d(128, 160, kernel, stride, kernel // 2, bias=False).to(memory_format=layout)
    ours = copy.deepcopy(plain)
    use_small_conv(ours)
    assert type(ours) is SmallConv2d
    start = torch.randn(6, 128, height, width).contiguous(memory_format=layout)
    computed = []
    for conv, enabled in ((ours, True), (plain, False)):
        images = start.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            maps = conv(images)
        assert maps.dtype == (torch.bfloat16 if enabled else torch.float32)
        maps.float().sin().sum().backward()
        assert images.grad is not None
        assert conv.weight.grad is not None
        computed += [maps.detach().float(), images.grad, conv.weight.grad]
    return computed


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    "kernel, stride, height, width",
    [(k, s, h, w) for k, s, p, h, w in SHAPES if p == k // 2 and k != 5],
)
def test_output_and_gradients_are_those_of_float32_within_bf16(
    kernel: int, stride: int, height: int, width: int, layout: torch.memory_format
) -> None:
    computed = results(kernel, stride, height, width, layout=layout)
    # Both factors and the result are rounded, and without bf16 instructions also the sum after each kernel element;
    # independent roundings add up as the square root of their number.
    bound = BF16_ROUNDING * math.sqrt(3 + kernel**2)
    for ours, exact in zip(computed[:3], computed[3:], strict=True):
        assert ours.shape == exact.shape
        assert (ours - exact).norm() < bound * exact.norm()
    assert (computed[2][computed[5] == 0] == 0).all(), "a kernel element that reaches no pixel has no gradient"


def test_the_weight_gradient_lies_in_memory_as_the_weight_does() -> None:
    conv = nn.Conv2d(128, 128, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    use_small_conv(conv)
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(2, 128, 2, 2)).float().sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.stride() == conv.weight.stride()
    assert conv.weight.grad.dtype == torch.float32


def test_a_frozen_weight_and_a_frozen_input_get_no_gradient() -> None:
    for size in (2, 4):
        conv = nn.Conv2d(128, 128, 3, padding=1, bias=False)
        use_small_conv(conv)
        images = torch.randn(2, 128, size, size, requires_grad=True)
        conv.weight.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            conv(images).float().sum().backward()
        assert conv.weight.grad is None
        assert images.grad is not None
        conv.weight.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            conv(images.detach()).float().sum().backward()
        assert conv.weight.grad is not None


def test_only_fitting_convolutions_change_and_names_stay() -> None:
    model, plain = build_model(Hyperparameters(depth=18)), build_model(Hyperparameters(depth=18))
    use_small_conv(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    changed = {name for name, module in model.named_modules() if isinstance(module, SmallConv2d)}
    assert "conv1" not in changed
    assert not any(name.startswith("layer1") for name in changed)
    assert "layer4.1.conv2" in changed
    for other in (nn.Conv2d(128, 128, 3, groups=2), nn.Conv2d(128, 128, 3), nn.Conv2d(128, 128, (3, 1), bias=False)):
        use_small_conv(other)
        assert type(other) is nn.Conv2d


def test_without_autocast_it_computes_in_float32() -> None:
    conv = nn.Conv2d(128, 128, 3, padding=1, bias=False)
    images = torch.randn(2, 128, 2, 2)
    plain = conv(images)
    use_small_conv(conv)
    assert torch.equal(conv(images), plain)
