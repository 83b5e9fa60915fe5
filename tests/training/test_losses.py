"""The loss against torch's own and against plain float64 formulas."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss
from training_kit import CPU, short_trial

from study.training.losses import Criterion, balanced_weights

COUNTS = {2: (30, 1), 3: (5, 20, 35)}
BALANCED = {2: (31 / 60, 31 / 2), 3: (4.0, 1.0, 4 / 7)}


def criterion(classes: int = 2, **changed: Any) -> Criterion:
    return Criterion(short_trial(**changed), COUNTS[classes], CPU)


def drawn(classes: int, soft: bool, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits as a model gives them, and targets: labels, or two labels mixed as mixup does."""
    stream = torch.Generator().manual_seed(5)
    shape = (12,) if classes == 2 else (12, classes)
    logits = torch.randn(shape, generator=stream) * scale
    targets = functional.one_hot(torch.arange(12) % classes, classes).float()
    if soft:
        share = torch.rand(12, 1, generator=stream)
        targets = share * targets + (1 - share) * targets.roll(1, 0)
    return logits, targets


def by_formula(logits: torch.Tensor, targets: torch.Tensor, asked: dict[str, Any]) -> torch.Tensor:
    """Sum of w t (1 - p)^gamma (-log p) over that of w t, as one would write it."""
    classes = targets.shape[1]
    both = torch.stack([torch.zeros_like(logits), logits], 1) if logits.ndim == 1 else logits
    smoothing = asked.get("label_smoothing", 0.0)
    targets = (1 - smoothing) * targets.double() + smoothing / classes
    weights = torch.tensor(BALANCED[classes] if asked.get("class_weights") == "balanced" else [1.0] * classes).double()
    powers = (both - both.max(1, keepdim=True).values.detach()).exp()
    shares = powers / powers.sum(1, keepdim=True)
    logs = both - both.logsumexp(1, keepdim=True)
    gamma = asked.get("focal_gamma", 2.0) if asked.get("loss") == "focal" else 0.0
    return (weights * targets * (1 - shares) ** gamma * -logs).sum() / (weights * targets).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_logit_is_torchs_binary_cross_entropy(smoothing: float) -> None:
    logits, targets = drawn(2, soft=True)
    smooth = targets[:, 1] * (1 - smoothing) + smoothing / 2
    expected = functional.binary_cross_entropy_with_logits(logits, smooth)
    assert criterion(label_smoothing=smoothing)(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_three_logits_are_torchs_cross_entropy(soft: bool, smoothing: float) -> None:
    logits, targets = drawn(3, soft)
    expected = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    assert criterion(3, label_smoothing=smoothing)(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_weights_are_those_of_torchs_cross_entropy() -> None:
    assert balanced_weights(COUNTS[3]) == pytest.approx(BALANCED[3])
    logits, targets = drawn(3, soft=False)
    expected = functional.cross_entropy(logits, targets.argmax(1), torch.tensor(BALANCED[3]))
    assert criterion(3, class_weights="balanced")(logits, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_both_classes_of_30_to_1_count_the_same_over_the_training_set() -> None:
    targets = functional.one_hot(torch.tensor([0] * 30 + [1]), 2).float()
    logits = torch.tensor([1.0] * 30 + [-2.0])
    each = functional.softplus(torch.tensor(1.0)), functional.softplus(torch.tensor(2.0))
    computed = criterion(class_weights="balanced")(logits, targets)
    assert computed.item() == pytest.approx(float(sum(each)) / 2, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_binary_focal_loss_is_torchvisions(gamma: float) -> None:
    logits, targets = drawn(2, soft=False)
    expected = sigmoid_focal_loss(logits, targets[:, 1], alpha=-1, gamma=gamma, reduction="mean")
    assert criterion(loss="focal", focal_gamma=gamma)(logits, targets).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_focal_loss_of_three_classes_by_hand() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2]]).log()
    targets = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    expected = (0.3**2 * 0.356675 + 0.8**2 * 1.609438) / 2
    assert criterion(3, loss="focal")(logits, targets).item() == pytest.approx(expected, rel=1e-5)


ASKED = [
    {"loss": loss, "label_smoothing": smoothing, "class_weights": weights, **({"focal_gamma": gamma} if gamma else {})}
    for (loss, gamma), smoothing, weights in product(
        [("cross_entropy", None), ("focal", 0.5), ("focal", 1.5)], [0.0, 0.1], ["none", "balanced"]
    )
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("soft", [False, True])
def test_value_and_gradient_are_those_of_the_plain_formula(asked: dict[str, Any], classes: int, soft: bool) -> None:
    logits, targets = drawn(classes, soft)
    exact = logits.double().requires_grad_()
    expected = by_formula(exact, targets, asked)
    (slope,) = torch.autograd.grad(expected, exact)
    logits.requires_grad_()
    computed = criterion(classes, **asked)(logits, targets)
    (ours,) = torch.autograd.grad(computed, logits)
    assert computed.dtype == ours.dtype == torch.float32
    assert computed.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(ours.double(), slope, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("size", [20.0, 200.0, 1e4])
def test_extreme_logits_are_finite_and_so_are_their_gradients(asked: dict[str, Any], classes: int, size: float) -> None:
    for soft in (False, True):
        logits, targets = drawn(classes, soft)
        logits = (size * logits.sign()).requires_grad_()
        computed = criterion(classes, **asked)(logits, targets)
        (ours,) = torch.autograd.grad(computed, logits)
        assert computed.isfinite()
        assert ours.isfinite().all()
        if asked["loss"] == "cross_entropy":
            exact = logits.detach().double().requires_grad_()
            expected = by_formula(exact, targets, asked)
            assert computed.item() == pytest.approx(expected.item(), rel=1e-5)
            assert torch.allclose(ours.double(), torch.autograd.grad(expected, exact)[0], atol=1e-6)


@pytest.mark.parametrize("gamma", [0.3, 0.5, 1.0, 2.0])
def test_the_focal_gradient_of_a_sure_image(gamma: float) -> None:
    """The loss is (1 - p)^gamma (-log p), so its slope is (1 - p)^gamma (gamma p log p - (1 - p)) by the logit."""
    for size in (-1e4, -30.0, -5.0, 5.0, 30.0, 1e4):
        logit = torch.tensor([size], requires_grad=True)
        (ours,) = torch.autograd.grad(
            criterion(loss="focal", focal_gamma=gamma)(logit, torch.tensor([[0.0, 1.0]])), logit
        )
        exact = torch.tensor(size, dtype=torch.float64)
        right, wrong, log = exact.sigmoid(), (-exact).sigmoid(), functional.logsigmoid(exact)
        expected = wrong**gamma * (gamma * right * log - wrong)
        assert ours.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-9)


def test_a_class_without_training_images_matters_to_balanced_weights_alone() -> None:
    logits, targets = drawn(3, soft=False)
    unweighted = Criterion(short_trial(), [4, 0, 8], CPU)
    assert torch.equal(unweighted(logits, targets), criterion(3)(logits, targets))
