"""Find torchvision's ImageNet weights: in torch's hub cache, else by download."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import hub
from torchvision.models import (
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    WeightsEnum,
)

from study.errors import WeightsError

TIMEOUT_S = 30.0
"""Of each connection and read: a firewall that drops packets must not hold a study up for minutes."""

IMAGENET_WEIGHTS: dict[int, WeightsEnum] = {
    18: ResNet18_Weights.IMAGENET1K_V1,
    34: ResNet34_Weights.IMAGENET1K_V1,
    50: ResNet50_Weights.IMAGENET1K_V2,
    101: ResNet101_Weights.IMAGENET1K_V2,
    152: ResNet152_Weights.IMAGENET1K_V2,
}


class MissingWeightsError(WeightsError):
    """Weights of one depth that are not to be had; ``why`` is worded so that several depths can share it."""

    def __init__(self, depth: int, why: str, way_out: str = "") -> None:
        super().__init__(f"no ImageNet weights for depth {depth}: {why}{way_out}")
        self.why = why


def imagenet_weights(depth: int) -> dict[str, torch.Tensor]:
    """Return the state dict torchvision publishes for a depth, downloading it if the hub cache lacks it.

    Raises:
        WeightsError: torchvision has none for this depth, or they are neither cached nor downloadable.
    """
    published = IMAGENET_WEIGHTS.get(depth)
    if published is None:
        raise MissingWeightsError(depth, "torchvision publishes none")
    cached = Path(hub.get_dir()) / "checkpoints" / published.url.rsplit("/", 1)[-1]
    damaged = cached.exists()
    try:
        with _network_timeout(TIMEOUT_S):
            state = hub.load_state_dict_from_url(
                published.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except (OSError, HTTPException, RuntimeError, EOFError, UnpicklingError) as error:
        cause = str(getattr(error, "reason", None) or f"{type(error).__name__}: {error}").splitlines()[0]
        if damaged:
            raise MissingWeightsError(depth, f"{cached} is damaged ({cause})", "; delete that file") from error
        why = f"not in {cached.parent} and not to be downloaded ({cause})"
        raise MissingWeightsError(depth, why, f"; put the file at {cached}") from error
    return dict(state)


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """Let sockets without a time limit of their own have one; torch's hub gives them none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
