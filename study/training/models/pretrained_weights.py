"""Published ImageNet weights from torch's hub cache or the network."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
from torch import hub

from study.errors import WeightsError
from study.training.models.architectures import ARCHITECTURES
from study.training.models.weights_file import read_weights

TIMEOUT_S = 30.0
"""Of each connection and read; torch's hub has no time limit of its own."""

_HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")
"""Of the contents, in the names of torchvision's files."""


class MissingWeightsError(WeightsError):
    """The ImageNet weights of a model are unavailable; ``why`` is worded so that several models can share it."""

    def __init__(self, family: str, depth: int, why: str, way_out: str = "") -> None:
        which = f"depth {depth}" if family == "resnet" else f"family {family}, depth {depth}"
        super().__init__(f"no ImageNet weights for {which}: {why}{way_out}")
        self.why = why


def imagenet_weights(family: str, depth: int) -> dict[str, torch.Tensor]:
    """Return the published weights under our names, downloading them if the hub cache lacks them.

    Raises:
        MissingWeightsError: nobody published any for this model, or they are neither cached nor downloadable.
    """
    url = ARCHITECTURES[family, depth].weights_url
    if url is None:
        raise MissingWeightsError(family, depth, "nobody publishes any we know of")
    cached = cached_file(url)
    if not cached.exists():
        expected = match[1] if (match := _HASH.search(cached.name)) else None
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with _network_timeout(TIMEOUT_S):
                hub.download_url_to_file(url, str(cached), expected, progress=False)
        except (OSError, HTTPException, RuntimeError) as error:
            cause = str(getattr(error, "reason", None) or f"{type(error).__name__}: {error}").splitlines()[0]
            why = f"not in {cached.parent} and not to be downloaded ({cause})"
            raise MissingWeightsError(family, depth, why, f"; put the file at {cached}") from error
    try:
        tensors = read_weights(cached).tensors
    except WeightsError as error:
        raise MissingWeightsError(family, depth, str(error), "; delete that file") from error
    prefix = "backbone." if url.endswith(".safetensors") else ""  # timm's names are those of the backbone alone
    return {prefix + name: tensor for name, tensor in tensors.items()}


def cached_file(url: str) -> Path:
    """Return where the hub cache keeps a file; timm's files all have the same name, so theirs is the model's."""
    parts = url.split("/")
    name = f"{parts[4]}.safetensors" if url.endswith(".safetensors") else parts[-1]
    return Path(hub.get_dir()) / "checkpoints" / name


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """Give sockets a time limit while the block runs."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
