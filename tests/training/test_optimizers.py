"""Steps of every optimizer against torch's own, with groups and losses computed separately."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from training_kit import CPU, first_images, noisy_halves, plain_pixels, short_trial

from study.training.learner import Learner, make_learner, train_epoch
from study.training.models.architectures import build_model
from study.training.optimization import build_optimizer, contiguous_weights, parameter_groups

DATA = noisy_halves(train=16, val=2, size=16)
RATE, DECAY = 0.01, 0.1
ALL_AT_ONCE = {"decay_norms_and_biases": False, "backbone_learning_rate_factor": 0.1, "clip_grad_norm": 0.05}
OPTIMIZERS: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
    ({"optimizer": "sgd", "momentum": 0.0}, torch.optim.SGD, {}),
    ({"optimizer": "sgd", "momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
    ({"optimizer": "sgd", "momentum": 0.8, "nesterov": True}, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
    ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, torch.optim.SGD, {}),
    ({"optimizer": "adam"}, torch.optim.Adam, {}),
    ({"optimizer": "adamw"}, torch.optim.AdamW, {}),
    ({"optimizer": "rmsprop"}, torch.optim.RMSprop, {"alpha": 0.99}),
]


def is_norm_or_bias(model: nn.Module, name: str) -> bool:
    owner = model.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.BatchNorm2d) or name.endswith(".bias")


def groups_by_hand(model: nn.Module, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """One group for each parameter."""
    groups = []
    for name, parameter in model.named_parameters():
        of_head = name in ("fc.weight", "fc.bias")
        rate = RATE if of_head else RATE * asked.get("backbone_learning_rate_factor", 1)
        spared = not asked.get("decay_norms_and_biases", True) and is_norm_or_bias(model, name)
        groups.append({"params": [parameter], "lr": rate, "weight_decay": 0.0 if spared else DECAY})
    return groups


def step_by_hand(model: nn.Module, order: torch.Tensor) -> tuple[list[torch.Tensor], float, float]:
    """Return the gradients, the loss and the accuracy of a batch."""
    labels = torch.from_numpy(DATA.train_labels)[order].float()
    logits = model.train()(plain_pixels(DATA.train_images)[order])[:, 0]
    loss = functional.binary_cross_entropy_with_logits(logits, labels)
    gradients = list(torch.autograd.grad(loss, list(model.parameters())))
    return gradients, loss.item(), float(((logits > 0) == labels).double().mean())


def norm_of(tensors: list[torch.Tensor]) -> float:
    return float(torch.cat([tensor.flatten() for tensor in tensors]).double().norm())


def flat(model: nn.Module, gradient: bool = False) -> torch.Tensor:
    return torch.cat([(values.grad if gradient else values.detach()).flatten() for values in model.parameters()])


def started(**asked: Any) -> tuple[Learner, nn.Module, Any]:
    config = short_trial(batch_size=16, learning_rate=RATE, weight_decay=DECAY, **asked)
    learner = make_learner(config, DATA, CPU)
    return learner, copy.deepcopy(learner.network.model), config


CASES = [(*case, more) for case in OPTIMIZERS for more in (ALL_AT_ONCE, {})]


@pytest.mark.parametrize("asked, theirs, settings, more", CASES)
def test_two_steps_are_torchs(
    asked: dict[str, Any], theirs: Any, settings: dict[str, Any], more: dict[str, Any]
) -> None:
    learner, model, config = started(**asked, **more)
    optimizer = theirs(groups_by_hand(model, more), **settings)
    for epoch, order in ((1, torch.arange(16)), (2, torch.arange(16).flip(0))):
        expected, loss, accuracy = step_by_hand(copy.deepcopy(model), order)
        limit = more.get("clip_grad_norm", float("inf"))
        scale = min(1.0, limit / norm_of(expected))
        values = train_epoch(learner, first_images(DATA, 16), order, config, epoch)
        assert values["train_loss"] == pytest.approx(loss, rel=1e-3)
        assert values["train_accuracy"] == pytest.approx(accuracy)
        ours = [parameter.grad for parameter in learner.network.model.parameters()]
        off = [gradient - scale * other for gradient, other in zip(ours, expected, strict=True)]
        assert norm_of(off) < 2e-2 * scale * norm_of(expected)
        # From here on with the same gradients, for Adam makes much of what is only rounding.
        before = flat(model)
        for parameter, gradient in zip(model.parameters(), ours, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        moved = (flat(model) - before).abs().max()
        assert (flat(model) - flat(learner.network.model)).abs().max() < 1e-4 * moved
        model.load_state_dict(learner.network.model.state_dict())


def test_clipping_leaves_a_short_gradient_alone() -> None:
    gradients = []
    for limit in (None, 1e6):
        learner, _, config = started(optimizer="sgd", clip_grad_norm=limit)
        train_epoch(learner, first_images(DATA, 16), torch.arange(16), config, 1)
        gradients.append(flat(learner.network.model, gradient=True))
    assert torch.equal(*gradients)


@pytest.mark.parametrize("asked", [{}, {"backbone_learning_rate_factor": 0.5}, {"decay_norms_and_biases": False}])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_every_parameter_is_in_one_group_and_the_heads_is_the_last(asked: dict[str, Any], head: str) -> None:
    learner, _, config = started(head=head, head_width=8, head_dropout=0.1, **asked)
    model = learner.network.model
    groups = parameter_groups(model, config)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))
    assert id(model.get_parameter("fc.3.bias" if head == "mlp" else "fc.bias")) in map(id, groups[-1]["params"])
    assert groups[-1]["lr"] == RATE


def test_the_weights_of_the_head_have_the_full_rate_whichever_is_the_last_group() -> None:
    learner, _, _ = started(optimizer="sgd", **ALL_AT_ONCE)
    groups = learner.optimizer.param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in learner.network.model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(RATE if name.startswith("fc.") else RATE * 0.1)


@pytest.mark.parametrize("asked", [asked for asked, _, _ in OPTIMIZERS])
def test_weights_shown_as_they_lie_in_memory_change_as_torch_changes_them(asked: dict[str, Any]) -> None:
    """To the last bit, with the state in the shapes in which it is stored."""
    config = short_trial(learning_rate=RATE, weight_decay=DECAY, **asked, **ALL_AT_ONCE)
    ours = build_model(config).to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    optimizers = [build_optimizer(model, config) for model in (ours, theirs)]
    torch.manual_seed(0)
    for _ in range(2):
        for parameters in zip(ours.parameters(), theirs.parameters(), strict=True):
            gradient = torch.randn_like(parameters[0])
            for parameter in parameters:
                parameter.grad = gradient.clone()
        with contiguous_weights(optimizers[0]):
            optimizers[0].step()
        optimizers[1].step()
    assert torch.equal(flat(ours), flat(theirs))
    ours_after, theirs_after = (optimizer.state_dict() for optimizer in optimizers)
    assert ours_after["param_groups"] == theirs_after["param_groups"]
    assert ours_after["state"].keys() == theirs_after["state"].keys()
    for number, state in theirs_after["state"].items():
        for name, value in state.items():
            made = ours_after["state"][number][name]
            assert made is value or torch.equal(made, value), "None or a tensor"
    assert [id(parameter) for group in optimizers[0].param_groups for parameter in group["params"]] == [
        id(parameter) for group in parameter_groups(ours, config) for parameter in group["params"]
    ]


def test_no_gradient_is_copied_for_a_fused_step() -> None:
    learner, _, config = started(optimizer="adam")
    order = torch.arange(16)
    images = first_images(DATA, 16)
    train_epoch(learner, images, order, config, 1)
    with torch.profiler.profile(record_shapes=True) as profile, contiguous_weights(learner.optimizer):
        learner.optimizer.step()
    copied = [event.input_shapes[0] for event in profile.events() if event.name == "aten::clone"]
    assert not [shape for shape in copied if len(shape) == 4]
