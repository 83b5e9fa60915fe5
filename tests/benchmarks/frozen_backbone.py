"""Train a head on a frozen backbone for some epochs: with features computed once, against a pass in every epoch.

Run: python tests/benchmarks/frozen_backbone.py [--trials 8] [--epochs 20] [--pairs 3] [--depth 18]
     [--freeze backbone] [--append] [--out FILE.json]

Each side runs the same trials one after another in this process, on one thread, from one backbone, drawn beforehand,
and with a learning rate of their own; the cache of features is empty when a pair begins. Checkpoints are written as in
a study. `--append` sums up the pairs that are in FILE.json too. `--freeze "stages<=3"` trains the last stage as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from machine import busy_cores, commit_of, describe_machine
from training_kit import CPU, MAX_AUC, noisy_halves

from study.config.hyperparameters import TrialConfig
from study.training import trainer
from study.training.frozen.features import STAGES
from study.training.models.architectures import build_model
from study.training.models.initialization import Weights, initialize
from study.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 0.02


@dataclass(frozen=True)
class Times:
    """What one side took by the clock, and of this process's CPU time."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Pair:
    """Both sides, one after the other."""

    every_epoch: Times
    once: Times


def main() -> None:
    """Run the pairs and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--freeze", choices=["backbone", *STAGES], default="backbone")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "frozen_backbone.json")
    parser.add_argument("--append", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, pairs = busy_cores(), read_pairs(options.out) if options.append else []
    for _ in range(options.pairs):
        pairs.append(measure_pair(options))
        report = describe(options, before, pairs)
        options.out.write_text(json.dumps(report, indent=2) + "\n")  # after every pair: the last may be cut off
        print(f"{pairs[-1]}", file=sys.stderr, flush=True)
    print(json.dumps(report, indent=2))


def read_pairs(file: Path) -> list[Pair]:
    """Return the pairs of a report."""
    pairs = json.loads(file.read_text())["pairs"]
    return [Pair(Times(**pair["every_epoch"]), Times(**pair["once"])) for pair in pairs]


def describe(options: argparse.Namespace, busy_cores_before: float, pairs: list[Pair]) -> dict[str, Any]:
    """Return the report of the pairs so far."""
    ratios = [pair.every_epoch.wall_s / pair.once.wall_s for pair in pairs]
    cpu_ratios = [pair.every_epoch.cpu_s / pair.once.cpu_s for pair in pairs]
    return {
        "machine": describe_machine(), "commit": commit_of(ROOT), "busy_cores_before": round(busy_cores_before, 2),
        "freeze": options.freeze, "trials": options.trials, "epochs": options.epochs, "depth": options.depth,
        "images": options.images, "image_size_px": options.size,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"), "pairs": [asdict(pair) for pair in pairs],
        "ratio": round(statistics.median(ratios), 1), "ratios": [round(ratio, 1) for ratio in ratios],
        "cpu_ratio": round(statistics.median(cpu_ratios), 1), "cpu_ratios": [round(ratio, 1) for ratio in cpu_ratios],
    }  # fmt: skip


def measure_pair(options: argparse.Namespace) -> Pair:
    """Return the times of all trials with a pass in every epoch, and with features computed once."""
    backbone = build_model(trial(options, 0))
    initialize(backbone, "kaiming", 0)
    weights = backbone.state_dict()
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"STUDY_CACHE": f"{folder}/cache"}):
        with mock.patch.object(trainer, "has_fixed_features", return_value=False):
            every_epoch, plain = train_all(options, weights, Path(folder, "plain"))
        once, best = train_all(options, weights, Path(folder, "once"))
    worst = max(abs(first - second) for first, second in zip(plain, best, strict=True))
    if worst > TOLERANCE:
        raise SystemExit(f"both sides must reach the same val_auc to {TOLERANCE}, but differ by {worst:.4f}")
    return Pair(every_epoch, once)


def trial(options: argparse.Namespace, number: int) -> TrialConfig:
    """Return the configuration of a trial."""
    return TrialConfig(
        seed=number, point=number, depth=options.depth, freeze=options.freeze, init="imagenet", optimizer="adam",
        learning_rate=1e-3 * (number + 1), max_epochs=options.epochs, batch_size=32,
    )  # fmt: skip


def train_all(options: argparse.Namespace, weights: Weights, folder: Path) -> tuple[Times, list[float]]:
    """Return the times that the trials take one after another, and the best val_auc of each."""
    data = noisy_halves(options.images, options.images // 4, options.size, contrast=6)
    started, cpu_started, best = time.perf_counter(), time.process_time(), []
    for number in range(options.trials):
        config = trial(options, number)
        *_, last = train(config, data, MAX_AUC, folder / str(number), weights=weights, device=CPU)
        best.append(max(epoch.values["val_auc"] for epoch in last.history))
    return Times(round(time.perf_counter() - started, 2), round(time.process_time() - cpu_started, 2)), best


if __name__ == "__main__":
    main()
