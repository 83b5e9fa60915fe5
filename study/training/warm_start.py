"""Read the weights a trial goes on from: a checkpoint's folder, a bundle, or a plain file of weights."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from study.errors import WeightsError
from study.layout import WEIGHTS

FORMS = "a checkpoint's folder, a trial's folder, an exported bundle, or a .safetensors, .pt or .pth file"


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict.

    Args:
        path: a folder that holds ``model.safetensors`` itself or in its newest ``epoch-*``, or a file; a .pt file may
            hold the state dict as it is or under the key ``state_dict`` or ``model``.

    Raises:
        WeightsError: there are no weights, or they cannot be read.
    """
    file = find_weights(path)
    try:
        found = load_file(file) if file.suffix == ".safetensors" else _read_pickled(file)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError, SafetensorError) as error:
        raise WeightsError(f"{file} cannot be read as weights: {error}") from error
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def find_weights(path: Path) -> Path:
    """Return the file with the weights; opens none.

    Raises:
        WeightsError: there is none.
    """
    candidates = [path, path / WEIGHTS, *(one / WEIGHTS for one in sorted(path.glob("epoch-*"), reverse=True))]
    for one in candidates:
        if one.is_file():
            return one
    raise WeightsError(f"{path} must be {FORMS}, but there is no {WEIGHTS} in it; check the path")


def _read_pickled(file: Path) -> dict[str, torch.Tensor]:
    found = torch.load(file, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise ValueError("it must hold a state dict: names and tensors")
    return found
