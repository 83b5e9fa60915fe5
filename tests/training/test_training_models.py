"""Architectures, initial weights and registries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision.models
from torch import hub, nn
from training_kit import CPU, MAX_AUC, noisy_halves, short_trial

from study.config.hyperparameters import Hyperparameters
from study.errors import WeightsError
from study.training.learner import make_learner
from study.training.models.architectures import ARCHITECTURES, build_model, to_device
from study.training.models.initialization import initialize
from study.training.models.pretrained_weights import imagenet_weights
from study.training.trainer import train


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


def model_of(depth: int, family: str = "resnet") -> nn.Module:
    return build_model(Hyperparameters.model_validate({"family": family, "depth": depth}))


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
    found = imagenet_weights("resnet", 18)
    assert all(torch.equal(found[name], given[name]) for name in given)
    model = make_learner(short_trial(depth=18, init="imagenet"), noisy_halves(), CPU, found).network.model
    assert torch.equal(model.get_parameter("conv1.weight"), given["conv1.weight"])


def test_without_a_network_the_error_names_the_file(hub_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"depth 18: .*no route to host.* put the file at") as error:
        imagenet_weights("resnet", 18)
    assert str(hub_folder / "resnet18-f37072fd.pth") in str(error.value)


def test_a_damaged_file_is_to_be_deleted(hub_folder: Path) -> None:
    path = hub_folder / "resnet18-f37072fd.pth"
    for content in (b"", b"<html>not found</html>", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"is damaged .* delete that file") as error:
            imagenet_weights("resnet", 18)
        assert str(path) in str(error.value)


def test_only_published_depths_have_weights() -> None:
    unpublished = {key for key, architecture in ARCHITECTURES.items() if architecture.weights_url is None}
    assert unpublished == {("resnet", 10), ("resnet_v2", 152)}
    with pytest.raises(WeightsError, match="depth 10"):
        imagenet_weights("resnet", 10)
