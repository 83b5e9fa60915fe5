"""Train a head on a frozen backbone for some epochs: with features computed once, against a pass in every epoch.

Run: python tests/benchmarks/frozen_backbone.py [--trials 8] [--epochs 20] [--pairs 3] [--depth 18] [--out FILE.json]

Each side runs the same trials one after another in this process, on one thread, from one backbone and with a learning
rate of their own; the cache of features is empty when a pair begins. Checkpoints are written as in a study.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from machine import busy_cores, commit_of, describe_machine
from training_kit import CPU, MAX_AUC, noisy_halves

from study.config.hyperparameters import TrialConfig
from study.training import trainer
from study.training.models.architectures import build_model
from study.training.models.initialization import initialize
from study.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 0.02


def main() -> None:
    """Run the pairs and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "frozen_backbone.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = busy_cores()
    pairs = []
    for number in range(options.pairs):
        pairs.append(measure_pair(options))
        print(f"pair {number}: {pairs[-1][0]:.1f} s against {pairs[-1][1]:.1f} s", file=sys.stderr, flush=True)
    ratios = [plain_s / once_s for plain_s, once_s in pairs]
    report = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "busy_cores_before": round(before, 2),
        "trials": options.trials, "epochs": options.epochs, "depth": options.depth, "images": options.images,
        "image_size_px": options.size, "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "every_epoch_s": [round(plain_s, 1) for plain_s, _ in pairs],
        "once_s": [round(once_s, 1) for _, once_s in pairs], "ratio": round(statistics.median(ratios), 1),
        "ratios": [round(ratio, 1) for ratio in ratios],
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def measure_pair(options: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of all trials with a pass in every epoch, and with features computed once."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"STUDY_CACHE": f"{folder}/cache"}):
        with mock.patch.object(trainer, "has_fixed_features", return_value=False):
            plain_s, plain = train_all(options, Path(folder, "plain"))
        once_s, once = train_all(options, Path(folder, "once"))
    worst = max(abs(first - second) for first, second in zip(plain, once, strict=True))
    if worst > TOLERANCE:
        raise SystemExit(f"both sides must reach the same val_auc to {TOLERANCE}, but differ by {worst:.4f}")
    return plain_s, once_s


def train_all(options: argparse.Namespace, folder: Path) -> tuple[float, list[float]]:
    """Return the seconds that the trials take one after another, and the best val_auc of each."""
    data = noisy_halves(options.images, options.images // 4, options.size, contrast=6)
    started, best = time.perf_counter(), []
    for number in range(options.trials):
        config = TrialConfig(
            seed=number, point=number, depth=options.depth, freeze="backbone", init="imagenet", optimizer="adam",
            learning_rate=1e-3 * (number + 1), max_epochs=options.epochs, batch_size=32,
        )  # fmt: skip
        backbone = build_model(config)
        initialize(backbone, "kaiming", 0)
        *_, last = train(config, data, MAX_AUC, folder / str(number), weights=backbone.state_dict(), device=CPU)
        best.append(max(epoch.values["val_auc"] for epoch in last.history))
    return time.perf_counter() - started, best


if __name__ == "__main__":
    main()
