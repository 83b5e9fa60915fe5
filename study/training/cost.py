"""Measure what a model costs to use: its parameters and the time it takes for one image."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import nn

from study.training.batches import DeviceImages
from study.training.network import Network

WARM_UP = 2
FEWEST, MOST, ENOUGH_S = 3, 20, 0.15
"""Images that are timed: so many at least and at most, and no more once so much time is over."""


def count_parameters(model: nn.Module) -> int:
    """Count a model's numbers that are or could be learned, frozen ones too."""
    return sum(one.numel() for one in model.parameters())


@torch.inference_mode()
def measure_latency_ms(network: Network, images: DeviceImages) -> float:
    """Return the median time to classify one image, after a warm-up, in the network's precision.

    Leaves the model in evaluation mode and everything else as it was.

    Args:
        network: what classifies.
        images: the first one is taken, again and again.
    """
    network.model.eval()
    image, _ = images.take(torch.zeros(1, dtype=torch.long), channels_last=network.channels_last)
    image = images.normalize(image)
    for _ in range(WARM_UP):
        _time_s(network, image)
    times: list[float] = []
    while len(times) < FEWEST or (len(times) < MOST and sum(times) < ENOUGH_S):
        times.append(_time_s(network, image))
    return 1000 * median(times)


def _time_s(network: Network, image: torch.Tensor) -> float:
    started = time.perf_counter()
    network.logits(image)
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
    return time.perf_counter() - started
