"""Convolutions by Winograd's algorithm give what torch.conv2d gives, to the tolerance of float32."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from training_kit import noisy_halves, numbers, run, short_trial

from study.config.hyperparameters import Hyperparameters
from study.training.models.architectures import build_model
from study.training.models.winograd import LARGEST_INPUT_PX, WinogradConv2d, algorithm, use_winograd

SIDES = [(size, 1) for size in range(1, LARGEST_INPUT_PX + 1)] + [(size, 2) for size in range(1, 5)]


def toeplitz(weight: np.ndarray, inputs: int, stride: int) -> np.ndarray:
    """Return the matrix of a convolution along one side, with padding 1: [outputs, inputs]."""
    rows = [[weight[i - o + 1] if 0 <= i - o + 1 < 3 else 0.0 for i in range(inputs)] for o in range(0, inputs, stride)]
    return np.array(rows)


@pytest.mark.parametrize("inputs, stride", SIDES)
def test_along_one_side_every_algorithm_is_a_convolution(inputs: int, stride: int) -> None:
    made = algorithm(inputs, stride)
    for weight in np.eye(3):
        products = np.diag(np.tile(made.kernel @ weight, made.tiles))
        assert np.allclose(made.after @ products @ made.before, toeplitz(weight, inputs, stride), atol=1e-12)


def test_the_products_are_as_few_as_the_theory_says() -> None:
    """F(m, 3) takes m + 2; torch.conv2d takes 3 for every output, also where it meets the padding."""
    products = {size: (algorithm(size, 1).tiles, algorithm(size, 1).products) for size in (1, 2, 3, 4, 6, 8, 12, 16)}
    assert products == {1: (1, 1), 2: (1, 3), 3: (1, 5), 4: (1, 6), 6: (2, 5), 8: (2, 6), 12: (3, 6), 16: (4, 6)}
    assert algorithm(4, 2).products == 5, "of 6, one meets the padding"


def results(conv: nn.Conv2d, images: torch.Tensor, above: torch.Tensor) -> list[torch.Tensor]:
    """Return output, input gradient and weight gradient."""
    images = images.clone().requires_grad_()
    conv.weight.grad = None
    maps = conv(images)
    maps.backward(above)
    assert images.grad is not None
    assert conv.weight.grad is not None
    return [maps.detach(), images.grad, conv.weight.grad]


@pytest.mark.parametrize("inputs, stride", SIDES)
def test_output_and_both_gradients_are_those_of_torch(
    inputs: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(64, 80, 3, stride, 1, bias=False).to(memory_format=torch.channels_last)
    ours, exact = copy.deepcopy(plain), copy.deepcopy(plain).double()
    use_winograd(ours)
    monkeypatch.setattr(WinogradConv2d, "_pays", lambda self, input: True)
    images = torch.randn(3, 64, inputs, inputs).contiguous(memory_format=torch.channels_last)
    above = torch.randn_like(plain(images))
    expected = results(exact, images.double(), above.double())
    for made, wanted in zip(results(ours, images, above), expected, strict=True):
        assert made.shape == wanted.shape
        assert (made - wanted).norm() < 5e-6 * wanted.norm()
        assert made.is_contiguous(memory_format=torch.channels_last)


def gradients(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, list[torch.Tensor]]:
    model.train()
    loss = functional.binary_cross_entropy_with_logits(model(images).squeeze(1), labels)
    loss.backward()
    return loss.item(), [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def without_kinks(model: nn.Module) -> nn.Module:
    """Put smooth layers in the place of ReLU and maxima, which turn a gradient on or off where two values are alike."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.SiLU())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(3, stride=2, padding=1))
    return model


@pytest.mark.parametrize("depth, size", [(18, 48), (10, 64)])
def test_a_training_step_has_the_loss_and_the_gradients_of_torch(depth: int, size: int) -> None:
    """As near the exact step as torch's own float32 is, in a network without kinks, at which rounding decides."""
    torch.manual_seed(0)
    plain = without_kinks(build_model(Hyperparameters(depth=depth))).to(memory_format=torch.channels_last)
    ours, exact = copy.deepcopy(plain), copy.deepcopy(plain).double()
    use_winograd(ours)
    images = torch.randn(16, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = (torch.rand(16) < 0.5).float()
    loss, wanted = gradients(exact, images.double(), labels.double())
    losses, errors = [], []
    for model in (ours, plain):
        value, made = gradients(model, images, labels)
        losses.append(value)
        square = sum(float((a - b).square().sum()) for a, b in zip(made, wanted, strict=True))
        errors.append((square / sum(float(b.square().sum()) for b in wanted)) ** 0.5)
    assert losses == pytest.approx([loss, loss], rel=1e-5)
    assert errors[0] < 4 * errors[1], errors


def test_it_is_used_where_it_pays_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    use_winograd(conv)
    assert isinstance(conv, WinogradConv2d)
    used: list[bool] = []
    pays = WinogradConv2d._pays
    monkeypatch.setattr(WinogradConv2d, "_pays", lambda self, input: used.append(pays(self, input)) or used[-1])
    for shape in ((36, 4, 4), (35, 4, 4), (9, 8, 8), (8, 8, 8), (64, 17, 17), (64, 8, 4)):
        conv(torch.randn(shape[0], 64, *shape[1:]))
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(64, 64, 4, 4, dtype=torch.bfloat16))
        conv(torch.randn(64, 64, 4, 4))
    assert used == [True, False, True, False, False, False, False, False]


def test_only_fitting_convolutions_change_and_names_stay() -> None:
    model, plain = build_model(Hyperparameters(depth=18)), build_model(Hyperparameters(depth=18))
    use_winograd(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    changed = {name for name, module in model.named_modules() if isinstance(module, WinogradConv2d)}
    assert len(changed) == 16
    assert not {"conv1", "layer2.0.downsample.0"} & changed
    others: list[dict[str, Any]] = [{}, {"padding": 1}, {"padding": 1, "bias": False, "groups": 2}]
    for settings in others:
        other = nn.Conv2d(64, 64, 3, **settings)
        use_winograd(other)
        assert type(other) is nn.Conv2d


def test_a_frozen_weight_and_a_frozen_input_get_no_gradient() -> None:
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    use_winograd(conv)
    images = torch.randn(64, 64, 2, 2, requires_grad=True)
    conv.weight.requires_grad_(False)
    conv(images).sum().backward()
    assert conv.weight.grad is None
    assert images.grad is not None
    conv.weight.requires_grad_(True)
    conv(images.detach()).sum().backward()
    assert conv.weight.grad is not None


def test_the_same_seed_gives_the_same_numbers_and_nearly_those_of_torch(tmp_path: Path) -> None:
    config = short_trial(max_epochs=2, channels_last="auto", learning_rate=1e-4)
    data = noisy_halves(size=32)
    first, again = (run(config, data, tmp_path / name) for name in ("1", "2"))
    assert numbers(first) == numbers(again)
    plain = run(short_trial(max_epochs=2, channels_last=False, learning_rate=1e-4), data, tmp_path / "plain")
    assert numbers(first) != numbers(plain), "the algorithm was not used"
    for ours, torchs in zip(first.history, plain.history, strict=True):
        assert ours.values["train_loss"] == pytest.approx(torchs.values["train_loss"], rel=1e-2)
