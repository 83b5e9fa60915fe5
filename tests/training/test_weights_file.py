"""Weights from elsewhere are found in their file, or refused in one line that says what the file is."""

from __future__ import annotations

import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18, resnet34

from study.config.hyperparameters import Hyperparameters
from study.errors import WeightsError
from study.training.models.architectures import build_model
from study.training.models.initialization import validate_weights
from study.training.models.weights_file import FoundWeights, read_weights, require_weights_file

OWN = resnet18().state_dict()
LAYERS = {"conv1.weight": torch.ones(2), "layer1.0.conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(1)}


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (open, (str(self.trace), "w"))


def under(prefix: str, weights: dict[str, torch.Tensor] = LAYERS) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def saved(path: Path, stored: object) -> Path:
    torch.save(stored, path)
    return path


def read(path: Path) -> FoundWeights:
    return read_weights(path, OWN)


@pytest.mark.parametrize(
    "stored, note",
    [
        (LAYERS, ""),
        (OrderedDict(under("module.")), "the prefix `module.` of all names is left out"),
        ({"model_state_dict": LAYERS, "epoch": 3}, "the weights lie under `model_state_dict`"),
        (
            {"state_dict": under("model."), "pytorch-lightning_version": "2.5", "loops": {}},
            "the weights lie under `state_dict`, the prefix `model.` of all names is left out",
        ),
        (
            {"model": {"state_dict": under("module._orig_mod.")}, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
            "the weights lie under `model.state_dict`, the prefix `module._orig_mod.` of all names is left out",
        ),
        (under("_orig_mod.module.net."), "the prefix `_orig_mod.module.net.` of all names is left out"),
        (
            {"net": under("resnet."), "acc": 0.9},
            "the weights lie under `net`, the prefix `resnet.` of all names is left out",
        ),
        ({"ema": LAYERS}, "the weights lie under `ema`"),
        ({"ema": under("x."), "model": LAYERS}, "the weights lie under `model`"),
        ({"model": LAYERS, "args": Namespace(lr=1)}, "the weights lie under `model`"),
        ({"student": LAYERS, "lr": 0.1}, "the weights lie under `student`"),
        ({**under("module."), "n_averaged": torch.tensor(3)}, "the prefix `module.` of all names is left out"),
        ({**LAYERS, "epoch": 3}, ""),
    ],
)
def test_the_state_dict_is_found_and_its_names_are_the_model_s(tmp_path: Path, stored: object, note: str) -> None:
    weights = read(saved(tmp_path / "w.pt", stored))
    assert list(weights.tensors) == list(LAYERS)
    assert all(torch.equal(tensor, LAYERS[name]) for name, tensor in weights.tensors.items())
    assert weights.note == note


def test_a_prefix_of_the_model_s_own_stays(tmp_path: Path) -> None:
    stored = {"backbone.stem.conv.weight": torch.ones(1), "backbone.norm.weight": torch.ones(1)}
    path = saved(tmp_path / "w.pt", under("module.", stored))
    assert set(read_weights(path, [*stored, "fc.weight"]).tensors) == set(stored)


def test_safetensors_are_known_by_their_contents(tmp_path: Path) -> None:
    save_file(under("model.", {name: tensor.half() for name, tensor in LAYERS.items()}), tmp_path / "w.bin")
    weights = read(tmp_path / "w.bin")
    assert list(weights.tensors) == sorted(LAYERS)
    assert weights.note == "the prefix `model.` of all names is left out, float16 becomes float32"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "it is empty; copy or download it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n",
            "it is a Git LFS pointer.*git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b'{"error": "not found"}', "it is JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "it is an HDF5 file, as Keras writes it"),
    ],
)
@pytest.mark.parametrize("name", ["w.pt", "w.pth"])
def test_other_files_are_told_without_torch(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} cannot be read as weights: {message}") as caught:
        require_weights_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_archives_that_torch_save_did_not_write_are_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.pt", "w") as archive:
        for member in ("s/data.pkl", "s/code/__torch__.py", "s/constants.pkl"):
            archive.writestr(member, "")
    with pytest.raises(WeightsError, match="it is a TorchScript program"):
        require_weights_file(tmp_path / "s.pt")
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(WeightsError, match=r"it is a ZIP archive, but none that torch.save wrote"):
        require_weights_file(tmp_path / "z.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_but_tensors_is_unpickled(tmp_path: Path, legacy: bool) -> None:
    trace = tmp_path / "trace"
    stored: dict[str, object] = {
        "whole.pt": resnet18(),
        "bomb.pt": {"state_dict": LAYERS, "more": Bomb(trace)},
    }
    for name, value in stored.items():
        torch.save(value, tmp_path / name, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(WeightsError, match=r"objects besides tensors \(\S+\)") as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert "weights_only" not in str(caught.value)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(WeightsError, match=r"cannot be read as weights: it "):
        read(tmp_path / "plain.pt")
    assert not trace.exists()


def test_numpy_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="it holds NumPy arrays; save tensors"):
        read(saved(tmp_path / "w.pt", {"conv1.weight": np.ones(3)}))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_a_file_that_was_cut_is_damaged(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"w.{suffix}"
    torch.save(OWN, path) if suffix == "pt" else save_file(OWN, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match="it is damaged, cut off, or no file of weights") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "stored, message",
    [
        ({"epoch": 3, "loss": 0.1}, "it must hold a state dict: names and tensors, but it holds epoch, loss"),
        ({}, "but it holds nothing"),
        ([torch.ones(1)], "but it holds a list"),
        ({"teacher": LAYERS, "student": LAYERS}, "but it holds state dicts under teacher, student"),
    ],
)
def test_a_file_without_one_state_dict_says_what_it_holds(tmp_path: Path, stored: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read(saved(tmp_path / "w.pt", stored))


def test_weights_must_have_the_model_s_layers_and_no_others() -> None:
    with torch.device("meta"):
        model = build_model(Hyperparameters(depth=18))
        deeper = resnet34().state_dict()
    validate_weights(model, "checkpoint:x", {**OWN, "classifier.weight": torch.ones(1)})
    with pytest.raises(
        WeightsError, match=r"hold 80 layers that the model lacks: layer1.2.conv1.weight, .* and 77 more; give"
    ):
        validate_weights(model, "checkpoint:x", deeper)
    with pytest.raises(
        WeightsError, match=r"`conv1.weight` must have shape \[64, 3, 7, 7\], .* hold shape \[64, 1, 7, 7\]"
    ):
        validate_weights(model, "checkpoint:x", {**OWN, "conv1.weight": torch.ones(64, 1, 7, 7)})
    with pytest.raises(WeightsError, match=r"`conv1.weight` must hold floating-point numbers, but .* torch.int8"):
        validate_weights(model, "checkpoint:x", {**OWN, "conv1.weight": OWN["conv1.weight"].to(torch.int8)})
