"""What a freeze policy keeps and what is trained; heads with dropout."""

from __future__ import annotations

import copy
from functools import partial
from itertools import chain
from typing import Any

import pytest
import torch
from torch import nn
from training_kit import CPU, first_images, noisy_halves, plain_pixels, short_trial

from study.config.hyperparameters import TrialConfig
from study.training.learner import Learner, make_learner, train_epoch
from study.training.models.architectures import predict

DATA = noisy_halves(train=8, val=2)
POLICIES = ["none", "stages<=1", "stages<=2", "stages<=3", "backbone"]
TORCHVISION = [["conv1.", "bn1."], ["layer1."], ["layer2."], ["layer3."], ["layer4."]]
TIMM = [["backbone.stem."], *([f"backbone.stages.{stage}."] for stage in range(4))]
CASES = [("resnet", 10, policy) for policy in POLICIES] + [
    (family, 50, policy)
    for family, policy in [
        ("wide_resnet", "stages<=3"),
        ("resnext", "stages<=2"),
        ("resnet_v2", "stages<=1"),
        ("resnet_v2", "backbone"),
    ]
]


def frozen_by_hand(family: str, policy: str) -> tuple[str, ...]:
    """Return how the names of frozen layers begin."""
    if policy == "backbone":
        return ("backbone.",) if family == "resnet_v2" else tuple(chain(*TORCHVISION))
    parts = TIMM if family == "resnet_v2" else TORCHVISION
    last = {"none": 0, "stages<=1": 2, "stages<=2": 3, "stages<=3": 4}[policy]
    return tuple(chain(*parts[:last]))


def one_step(learner: Learner, config: TrialConfig, epoch: int = 1) -> None:
    train_epoch(learner, first_images(DATA, 4), torch.arange(4), config, epoch)


def trial(**changed: Any) -> TrialConfig:
    return short_trial(batch_size=4, optimizer="sgd", learning_rate=0.1, weight_decay=0.01, **changed)


@pytest.mark.parametrize("family, depth, policy", CASES)
def test_a_step_changes_what_is_not_frozen_and_nothing_else(family: str, depth: int, policy: str) -> None:
    config = trial(family=family, depth=depth, freeze=policy)
    learner = make_learner(config, DATA, CPU)
    model = learner.network.model
    before = copy.deepcopy(model.state_dict())
    one_step(learner, config)
    frozen = frozen_by_hand(family, policy)
    for name, tensor in model.state_dict().items():
        kept = torch.equal(tensor, before[name])
        assert kept == (bool(frozen) and name.startswith(frozen)), name
    held = {id(parameter) for group in learner.optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        of_frozen = bool(frozen) and name.startswith(frozen)
        assert (id(parameter) in held) == parameter.requires_grad == (not of_frozen), name


def remember(
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]],
    name: str,
    _: nn.Module,
    given: tuple[torch.Tensor],
    output: torch.Tensor,
) -> None:
    seen[name] = (given[0].detach().clone(), output.detach().clone())  # the ReLU behind works in place


@pytest.mark.parametrize("policy", ["none", "stages<=2"])
def test_a_frozen_batch_norm_uses_its_own_statistics(policy: str) -> None:
    config = trial(freeze=policy)
    learner = make_learner(config, DATA, CPU)
    model: Any = learner.network.model
    stream = torch.Generator().manual_seed(1)
    layers = {"frozen": model.layer2[0].bn1, "trained": model.layer3[0].bn1}
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name, layer in layers.items():
        layer.running_mean.normal_(generator=stream)
        layer.running_var.uniform_(0.5, 4, generator=stream)
        layer.register_forward_hook(partial(remember, seen, name))
    statistics = {name: (layer.running_mean.clone(), layer.running_var.clone()) for name, layer in layers.items()}
    one_step(learner, config)
    for name in layers:
        given, output = seen[name]
        keeps = name == "frozen" and policy != "none"
        mean, var = statistics[name] if keeps else (given.mean((0, 2, 3)), given.var((0, 2, 3), unbiased=False))
        expected = (given - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        assert torch.allclose(output, expected, atol=1e-4), name


def test_a_frozen_backbone_trains_the_head_as_logistic_regression_does() -> None:
    config = trial(freeze="backbone", normalization="imagenet")
    learner = make_learner(config, DATA, CPU)
    model: Any = copy.deepcopy(learner.network.model).eval()
    weight, bias = model.fc.weight[0].detach().double(), model.fc.bias.detach().double()
    model.fc = nn.Identity()
    with torch.inference_mode():
        features = model(plain_pixels(DATA.train_images[:4])).double()
    one_step(learner, config)
    gap = (features @ weight + bias).sigmoid() - torch.from_numpy(DATA.train_labels[:4])
    expected = weight - 0.1 * ((gap[:, None] * features).mean(0) + 0.01 * weight)
    fc: Any = learner.network.model.fc
    assert torch.allclose(fc.weight[0].double(), expected, rtol=1e-3, atol=1e-5)
    assert fc.bias.item() == pytest.approx(float(bias - 0.1 * (gap.mean() + 0.01 * bias)), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("head, policy", [("linear", "none"), ("mlp", "backbone")])
def test_dropout_is_for_training_alone(head: str, policy: str) -> None:
    config = trial(head=head, head_width=16, head_dropout=0.5, freeze=policy)
    learner = make_learner(config, DATA, CPU)
    model: Any = learner.network.model
    dropped: list[torch.Tensor] = []
    (dropout,) = (module for module in model.modules() if isinstance(module, nn.Dropout))
    dropout.register_forward_hook(lambda module, given, output: dropped.append((output, module.training)))
    images = first_images(DATA, 8)
    first, again = predict(learner.evaluated_network, images), predict(learner.evaluated_network, images)
    assert first.tolist() == again.tolist()
    assert not any(training for _, training in dropped)
    dropped.clear()
    one_step(learner, config)
    ((output, training),) = dropped
    assert training
    assert 0.2 < (output == 0).double().mean() < 0.95  # some are zero behind the ReLU anyway


def test_two_epochs_drop_different_features() -> None:
    config = trial(head_dropout=0.5, freeze="backbone")
    learner = make_learner(config, DATA, CPU)
    masks: list[torch.Tensor] = []
    model: Any = learner.network.model
    model.fc.dropout.register_forward_hook(lambda _, given, output: masks.append(output == 0))
    for epoch in (1, 2, 1):
        one_step(learner, config, epoch)
    assert not torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


def test_training_leaves_torchs_generator_as_it_was() -> None:
    config = trial(head_dropout=0.5, freeze="backbone")
    learner = make_learner(config, DATA, CPU)
    state = torch.get_rng_state()
    one_step(learner, config)
    assert torch.equal(torch.get_rng_state(), state)
