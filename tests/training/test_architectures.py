"""Architectures, heads and initial weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision.models
from torch import hub, nn
from training_kit import CPU, MAX_AUC, noisy_halves, short_trial

from study.config.hyperparameters import DEPTHS, Hyperparameters
from study.errors import WeightsError
from study.training.learner import make_learner
from study.training.models.architectures import ARCHITECTURES, build_model, pool_before_relu, to_device
from study.training.models.initialization import initialize
from study.training.models.pretrained_weights import imagenet_weights
from study.training.trainer import train

SHALLOW = [(family, depth) for family, depths in DEPTHS.items() for depth in depths if depth <= 50]
"""The deeper ones have no layer of another kind."""
V1_BASIC, V1_BOTTLENECK, V2 = ("resnet", 18), ("resnet", 50), ("resnet_v2", 50)


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch's hub keeps its files, empty; and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def model_of(depth: int, family: str = "resnet", outputs: int = 1, **head: Any) -> nn.Module:
    return build_model(Hyperparameters.model_validate({"family": family, "depth": depth, **head}), outputs)


def convolutions(model: nn.Module) -> Iterator[nn.Conv2d]:
    return (module for module in model.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("family, depth", list(ARCHITECTURES))
def test_the_depth_counts_the_layers_with_weights(family: str, depth: int) -> None:
    with torch.device("meta"):
        model = model_of(depth, family)
        layers = [
            name for name, module in model.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name
        ]  # fmt: skip
        assert len(layers) == depth
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 1)


def test_depth_50_gives_torchvisions_logits() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(num_classes=1).eval()
    ours = model_of(50)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        expected = theirs(images)[:, 0]
        assert torch.equal(to_device(ours.eval(), CPU, "fp32", False).logits(images), expected)
        spread = expected.abs().max()
        coarse = to_device(ours, CPU, "bf16", True).logits(images.contiguous(memory_format=torch.channels_last))
    assert coarse.dtype == torch.float32
    assert (coarse - expected).abs().max() < 0.05 * max(1.0, float(spread))


@pytest.mark.parametrize("init", ["kaiming", "xavier"])
def test_convolutions_are_spread_as_the_paper_says(init: str) -> None:
    model = model_of(18)
    initialize(model, init, seed=1)
    for conv in convolutions(model):
        outputs, inputs, height, width = conv.weight.shape
        fan_in, fan_out = inputs * height * width, outputs * height * width
        std = math.sqrt(2 / fan_out) if init == "kaiming" else math.sqrt(2 / (fan_in + fan_out))
        few = 4 / math.sqrt(2 * conv.weight.numel())  # four standard errors of a standard deviation
        assert conv.weight.std().item() == pytest.approx(std, rel=few)
        assert abs(conv.weight.mean().item()) < 4 * std / math.sqrt(conv.weight.numel())


def test_initial_weights_depend_on_the_seed_alone() -> None:
    model, other = model_of(10), model_of(10)
    torch.rand(7)
    initialize(model, "kaiming", seed=1)
    model.get_buffer("bn1.running_mean").fill_(3)
    initialize(model, "kaiming", seed=1)
    initialize(other, "kaiming", seed=1)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    initialize(other, "kaiming", seed=2)
    assert not torch.equal(model.get_parameter("conv1.weight"), other.get_parameter("conv1.weight"))


def made_up(depth: int = 18) -> dict[str, torch.Tensor]:
    """A state dict of the published architecture, 1,000 classes, with random numbers."""
    torch.manual_seed(9)
    return dict(torchvision.models.get_model(f"resnet{depth}", num_classes=1000).state_dict())


@pytest.mark.parametrize(("family", "depth"), [("resnet", 10), ("resnet", 50), ("resnet_v2", 50)])
def test_every_weight_and_buffer_is_set(family: str, depth: int) -> None:
    config = Hyperparameters.model_validate({"family": family, "depth": depth, "head": "mlp"})
    with torch.device("meta"):
        model = build_model(config)
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.fill_(float("nan") if tensor.is_floating_point() else 7)
    usual = build_model(config)
    for each in (model, usual):
        initialize(each, "kaiming", 3)
    expected = usual.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_imagenet_fills_everything_but_the_last_layer() -> None:
    given = made_up()
    model, plain = model_of(18), model_of(18)
    initialize(model, "imagenet", 1, given)
    initialize(plain, "kaiming", 1)
    for name, tensor in model.state_dict().items():
        expected = plain.state_dict()[name] if name.startswith("fc.") else given[name]
        assert torch.equal(tensor, expected) or name.startswith("fc.")
    assert model.get_parameter("fc.weight").shape == (1, 512)
    again = model_of(18)
    initialize(again, "imagenet", 1, given)
    assert torch.equal(again.get_parameter("fc.weight"), model.get_parameter("fc.weight"))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer2.0.conv1.weight": torch.zeros(1, 2)}, r"`layer2.0.conv1.weight` must have shape .* shape \[1, 2\]"),
        ({"layer3.1.bn2.bias": None}, r"`layer3.1.bn2.bias` must have shape \[256\].* hold nothing"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_name_the_layer(change: dict[str, torch.Tensor | None], message: str) -> None:
    given = {name: tensor for name, tensor in (made_up() | change).items() if tensor is not None}
    with pytest.raises(WeightsError, match=message):
        initialize(model_of(18), "imagenet", 1, given)


def test_a_trial_without_its_weights_says_so(tmp_path: Path) -> None:
    config = short_trial(depth=18, init="imagenet")
    with pytest.raises(WeightsError, match="resolve"):
        next(train(config, noisy_halves(), MAX_AUC, tmp_path, device=CPU))


def test_weights_come_from_the_hub_folder(hub_folder: Path) -> None:
    given = made_up()
    torch.save(given, hub_folder / "resnet18-f37072fd.pth")
    weights = imagenet_weights("resnet", 18)
    assert all(torch.equal(weights[name], given[name]) for name in given)
    model = make_learner(short_trial(depth=18, init="imagenet"), noisy_halves(), CPU, weights).network.model
    assert torch.equal(model.get_parameter("conv1.weight"), given["conv1.weight"])


def test_without_a_network_the_error_names_the_file(hub_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"depth 18: .*no route to host.* put the file at") as error:
        imagenet_weights("resnet", 18)
    assert str(hub_folder / "resnet18-f37072fd.pth") in str(error.value)


def test_a_damaged_file_is_to_be_deleted(hub_folder: Path) -> None:
    path = hub_folder / "resnet18-f37072fd.pth"
    for content in (b"", b"<html>not found</html>", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"cannot be read as weights: it is .*; delete that file") as error:
            imagenet_weights("resnet", 18)
        assert str(path) in str(error.value)


def test_only_published_depths_have_weights() -> None:
    unpublished = {key for key, architecture in ARCHITECTURES.items() if architecture.weights_url is None}
    assert unpublished == {("resnet", 10), ("resnet_v2", 152)}
    with pytest.raises(WeightsError, match="depth 10"):
        imagenet_weights("resnet", 10)


def test_orthogonal_convolutions_are_so_times_the_gain_of_relu() -> None:
    model: Any = model_of(10)
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
    return [module for module in model.modules() if type(module).__name__ in names]


def shortcut_of(block: Any, given: torch.Tensor) -> torch.Tensor:
    """Return what a block gives whose residual branch gives 0."""
    if type(block).__name__ == "PreActBottleneck":
        return given if block.downsample is None else block.downsample(block.norm1(given))
    return (given if block.downsample is None else block.downsample(given)).relu()


@pytest.mark.parametrize("family, depth", [V1_BASIC, V1_BOTTLENECK, V2])
@pytest.mark.parametrize("init, silent", [("zero_residual", True), ("kaiming", False)])
def test_every_residual_branch_begins_at_0_if_asked(family: str, depth: int, init: str, silent: bool) -> None:
    model = model_of(depth, family)
    initialize(model, init, seed=1)
    blocks = blocks_of(model)
    assert len(blocks) == {18: 8, 50: 16}[depth]
    stream = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for block in blocks[:5]:
            first: Any = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
            given = torch.randn(2, first.in_channels, 4, 4, generator=stream).relu()
            assert torch.allclose(block.train()(given.clone()), shortcut_of(block, given), atol=1e-6) is silent


@pytest.mark.parametrize("family, depth", [V1_BASIC, V2])
def test_a_silent_branch_learns_nonetheless(family: str, depth: int) -> None:
    model = model_of(depth, family)
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
        model = model_of(depth, family, outputs, **head)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, outputs)
    features = 512 if family == "resnet" and depth < 50 else 2048
    of_head = {name: list(tensor.shape) for name, tensor in model.named_parameters() if name.startswith("fc.")}
    if head.get("head") == "mlp":
        shapes = {"fc.0.weight": [7, features], "fc.0.bias": [7], "fc.3.weight": [outputs, 7], "fc.3.bias": [outputs]}
    else:
        shapes = {"fc.weight": [outputs, features], "fc.bias": [outputs]}
    assert of_head == shapes


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_head_is_drawn_by_the_seed_as_torch_draws_a_linear_layer(head: str) -> None:
    model = model_of(10, head=head, head_width=600)
    initialize(model, "kaiming", seed=4)
    again = model_of(10, head=head, head_width=600)
    torch.rand(3)
    initialize(again, "kaiming", seed=4)
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, again.get_parameter(name))
    layers = [module for module in model.get_submodule("fc").modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        limit = 1 / math.sqrt(layer.in_features)
        assert 0.9 * limit < layer.weight.abs().max() <= limit


def test_weights_without_counters_of_batches_fit() -> None:
    """Files from before batch norms counted have none, such as torchvision's resnet18-5c106cde with its 102 entries."""
    old = {name: tensor for name, tensor in made_up().items() if not name.endswith("num_batches_tracked")}
    assert len(old) == 102
    model = model_of(18)
    initialize(model, "imagenet", 1, old)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in old.items() if not name.startswith("fc."))


@pytest.mark.parametrize("depth", [10, 50])
def test_pooling_before_relu_changes_no_bit(depth: int) -> None:
    torch.manual_seed(0)
    plain = model_of(depth)
    exchanged = copy.deepcopy(plain)
    pool_before_relu(exchanged)
    pool_before_relu(exchanged)  # as a model that was moved before
    assert isinstance(exchanged.get_submodule("maxpool"), nn.ReLU)
    images = torch.randn(4, 3, 48, 48)
    results = []
    for model in (plain, exchanged):
        logits = model.train()(images)
        logits.sum().backward()
        results.append([logits, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert plain.state_dict().keys() == exchanged.state_dict().keys()
