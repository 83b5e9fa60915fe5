"""How fast is one training step on the CPU: plain float32, plain bf16 + channels_last, and ours.

The three ways take turns in one process, so that whatever else the machine does slows all of them; the figures are
medians of CPU time, and the ratios are to plain float32. Nothing here is collected by pytest.

    .venv/bin/python tests/benchmarks/training_step.py --depth 18 --image-size-px 48 64
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from study.config.hyperparameters import Hyperparameters
from study.training.models.architectures import Network, build_model, to_device

CPU = torch.device("cpu")
WARM_UP = 2


@dataclass
class Way:
    """A network with its optimizer, and what its steps took."""

    network: Network
    optimizer: torch.optim.Optimizer
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Take one training step and time it."""
        if self.network.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        cpu, wall = time.process_time(), time.perf_counter()
        loss = functional.binary_cross_entropy_with_logits(self.network.logits(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.cpu_s.append(time.process_time() - cpu)
        self.wall_s.append(time.perf_counter() - wall)


def _resnet(depth: int) -> nn.Module:
    return build_model(Hyperparameters.model_validate({"depth": depth}))


def plain_fp32(depth: int) -> Network:
    """Compute as torch does when nothing is asked for."""
    return to_device(_resnet(depth), CPU, "fp32", channels_last=False)


def plain_bf16(depth: int) -> Network:
    """Compute in bf16 with torch's own convolutions."""
    return Network(
        _resnet(depth).to(memory_format=torch.channels_last),
        CPU,
        "bf16",
        channels_last=True,
    )


def ours(depth: int) -> Network:
    """Compute as a trial does on a CPU that is fast at bf16."""
    return to_device(_resnet(depth), CPU, "bf16", channels_last=True)


WAYS: dict[str, Callable[[int], Network]] = {"plain fp32": plain_fp32, "bf16 channels_last": plain_bf16, "ours": ours}


def compare(depth: int, size_px: int, batch_size: int, rounds: int) -> None:
    """Print images per second of every way, and the ratios."""
    torch.manual_seed(0)
    images = torch.randn(batch_size, 3, size_px, size_px)
    labels = (torch.rand(batch_size) < 0.5).float()
    ways = {}
    for name, build in WAYS.items():
        network = build(depth)
        network.model.train()
        ways[name] = Way(network, torch.optim.Adam(network.model.parameters(), lr=1e-3, fused=True))
    for _ in range(WARM_UP + rounds):
        for way in ways.values():
            way.step(images, labels)
    cpu = {name: statistics.median(way.cpu_s[WARM_UP:]) for name, way in ways.items()}
    wall = {name: statistics.median(way.wall_s[WARM_UP:]) for name, way in ways.items()}
    print(f"ResNet-{depth}, {size_px} px, batch {batch_size}, 1 thread, {rounds} rounds")
    for name in ways:
        base = cpu["plain fp32"] / cpu[name], wall["plain fp32"] / wall[name]
        print(
            f"  {name:20} {batch_size / cpu[name]:7.1f} images/s of CPU time, "
            f"{base[0]:.2f} x plain fp32 (by the clock {base[1]:.2f} x)"
        )
    plain = "bf16 channels_last"
    print(f"  ours to {plain}: {cpu[plain] / cpu['ours']:.2f} x (by the clock {wall[plain] / wall['ours']:.2f} x)")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, nargs="+", default=[18])
    parser.add_argument("--image-size-px", type=int, nargs="+", default=[48, 64])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for depth in asked.depth:
        for size_px in asked.image_size_px:
            compare(depth, size_px, asked.batch_size, asked.rounds)


if __name__ == "__main__":
    main()
