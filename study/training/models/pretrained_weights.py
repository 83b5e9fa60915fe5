"""Find published ImageNet weights: in torch's hub cache, else by download."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import hub
from torchvision.models import (
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    ResNeXt50_32X4D_Weights,
    Wide_ResNet50_2_Weights,
)

from study.errors import WeightsError
from study.paths import WEIGHTS

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


TIMEOUT_S = 30.0
"""Of each connection and read: a firewall that drops packets must not hold a study up for minutes."""

_TIMM = "https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
IMAGENET_URLS: Mapping[tuple[str, int], str] = {
    ("resnet", 18): ResNet18_Weights.IMAGENET1K_V1.url,
    ("resnet", 34): ResNet34_Weights.IMAGENET1K_V1.url,
    ("resnet", 50): ResNet50_Weights.IMAGENET1K_V2.url,
    ("resnet", 101): ResNet101_Weights.IMAGENET1K_V2.url,
    ("resnet", 152): ResNet152_Weights.IMAGENET1K_V2.url,
    ("wide_resnet", 50): Wide_ResNet50_2_Weights.IMAGENET1K_V2.url,
    ("resnext", 50): ResNeXt50_32X4D_Weights.IMAGENET1K_V2.url,
    ("resnet_v2", 50): _TIMM.format(name="resnetv2_50.a1h_in1k"),
    ("resnet_v2", 101): _TIMM.format(name="resnetv2_101.a1h_in1k"),
}
"""torchvision's files, and for resnet_v2 those of timm (trained on pixels in [-1, 1])."""
_DAMAGE = (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError, SafetensorError)


class MissingWeightsError(WeightsError):
    """Weights of one model that are not to be had; ``why`` is worded so that several models can share it."""

    def __init__(self, family: str, depth: int, why: str, way_out: str = "") -> None:
        which = f"depth {depth}" if family == "resnet" else f"family {family}, depth {depth}"
        super().__init__(f"no ImageNet weights for {which}: {why}{way_out}")
        self.why = why


def imagenet_weights(family: str, depth: int) -> dict[str, torch.Tensor]:
    """Return the published weights under our names, downloading them if the hub cache lacks them.

    Raises:
        MissingWeightsError: nobody published any for this model, or they are neither cached nor downloadable.
    """
    url = IMAGENET_URLS.get((family, depth))
    if url is None:
        raise MissingWeightsError(family, depth, "nobody publishes any we know of")
    cached = cached_file(url)
    damaged = cached.exists()
    try:
        with _network_timeout(TIMEOUT_S):
            return _timm_state(url, cached) if url.endswith(".safetensors") else _torchvision_state(url)
    except _DAMAGE as error:
        cause = str(getattr(error, "reason", None) or f"{type(error).__name__}: {error}").splitlines()[0]
        if damaged:
            raise MissingWeightsError(family, depth, f"{cached} is damaged ({cause})", "; delete that file") from error
        why = f"not in {cached.parent} and not to be downloaded ({cause})"
        raise MissingWeightsError(family, depth, why, f"; put the file at {cached}") from error


def cached_file(url: str) -> Path:
    """Return where the hub cache keeps a file; timm calls all its files alike, so those go by their model's name."""
    parts = url.split("/")
    name = f"{parts[4]}.safetensors" if url.endswith(".safetensors") else parts[-1]
    return Path(hub.get_dir()) / "checkpoints" / name


def _torchvision_state(url: str) -> dict[str, torch.Tensor]:
    return dict(
        hub.load_state_dict_from_url(url, map_location="cpu", progress=False, check_hash=True, weights_only=True)
    )


def _timm_state(url: str, cached: Path) -> dict[str, torch.Tensor]:
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        hub.download_url_to_file(url, str(cached), progress=False)
    return {f"backbone.{name}": tensor for name, tensor in load_file(cached).items()}


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """Let sockets without a time limit of their own have one; torch's hub gives them none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
