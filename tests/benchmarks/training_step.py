"""How fast is one training step on the CPU: float32 as torch has it, with channels last, and ours; likewise in bf16.

The ways take turns in one process on one thread, so that whatever else the machine does slows all of them. Figures are
medians of CPU time over the rounds, ratios those of the rounds' pairs. ``--instructions avx2`` keeps torch, oneDNN and
MKL from newer instructions, as on a processor that has none. Nothing here is collected by pytest.

    .venv/bin/python tests/benchmarks/training_step.py --instructions avx2 --precisions fp32 --depth 10 18
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "benchmarks" / "training_step.json"
INSTRUCTIONS = {
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "all": {},
}
if "--instructions" in sys.argv:  # read when torch is loaded
    os.environ.update(INSTRUCTIONS.get(sys.argv[sys.argv.index("--instructions") + 1], {}))

import torch  # noqa: E402
from machine import commit_of, describe_machine  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from study.config.hyperparameters import Hyperparameters  # noqa: E402
from study.training.models.architectures import Network, build_model, to_device  # noqa: E402

CPU = torch.device("cpu")
WARM_UP = 2
PLAIN = "plain fp32"


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


def _torchs_own(precision: str, channels_last: bool) -> Callable[[int], Network]:
    def build(depth: int) -> Network:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return Network(_resnet(depth).to(memory_format=layout), CPU, precision, channels_last)

    return build


def _ours(precision: str) -> Callable[[int], Network]:
    return lambda depth: to_device(_resnet(depth), CPU, precision, channels_last=True, is_trained=True)


WAYS: dict[str, dict[str, Callable[[int], Network]]] = {
    "fp32": {"fp32 channels_last": _torchs_own("fp32", True), "ours fp32": _ours("fp32")},
    "bf16": {"bf16 channels_last": _torchs_own("bf16", True), "ours bf16": _ours("bf16")},
}


@dataclass(frozen=True)
class Figure:
    """What a way takes; ``ratios`` are plain float32's CPU time over its own: median, least and most of the rounds."""

    way: str
    depth: int
    image_size_px: int
    batch_size: int
    images_per_cpu_s: float
    ratios: tuple[float, float, float]
    ratio_by_the_clock: float


def compare(depth: int, size_px: int, asked: argparse.Namespace) -> list[Figure]:
    """Time every way by turns."""
    torch.manual_seed(0)
    images = torch.randn(asked.batch_size, 3, size_px, size_px)
    labels = (torch.rand(asked.batch_size) < 0.5).float()
    ways = {}
    builders = {PLAIN: _torchs_own("fp32", False)}
    for precision in asked.precisions:
        builders |= WAYS[precision]
    for name, build in builders.items():
        network = build(depth)
        network.model.train()
        ways[name] = Way(network, torch.optim.Adam(network.model.parameters(), lr=1e-3, fused=True))
    for _ in range(WARM_UP + asked.rounds):
        for way in ways.values():
            way.step(images, labels)
    plain = ways[PLAIN]
    figures = []
    for name, way in ways.items():
        ratios = [a / b for a, b in zip(plain.cpu_s[WARM_UP:], way.cpu_s[WARM_UP:], strict=True)]
        by_the_clock = statistics.median(plain.wall_s[WARM_UP:]) / statistics.median(way.wall_s[WARM_UP:])
        rate = asked.batch_size / statistics.median(way.cpu_s[WARM_UP:])
        spread = (statistics.median(ratios), min(ratios), max(ratios))
        figures.append(Figure(name, depth, size_px, asked.batch_size, rate, spread, by_the_clock))
    return figures


def render(figure: Figure) -> str:
    """Return one line."""
    median, least, most = figure.ratios
    return (
        f"ResNet-{figure.depth}, {figure.image_size_px} px, batch {figure.batch_size}  {figure.way:20} "
        f"{figure.images_per_cpu_s:7.1f} images/s of CPU time, {median:.2f} x plain ({least:.2f} to {most:.2f}; "
        f"by the clock {figure.ratio_by_the_clock:.2f})"
    )


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, nargs="+", default=[18])
    parser.add_argument("--image-size-px", type=int, nargs="+", default=[48, 64])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precisions", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--instructions", choices=list(INSTRUCTIONS), default="all")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    figures: list[dict[str, Any]] = []
    for depth in asked.depth:
        for size_px in asked.image_size_px:
            for figure in compare(depth, size_px, asked):
                print(render(figure), flush=True)
                figures.append(asdict(figure))
    limits = {name: os.environ.get(name) for name in INSTRUCTIONS["avx2"]}
    report = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "rounds": asked.rounds, "environment": limits,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(), "figures": figures,
    }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
