"""Compare the AUC that trials reach the plain way and this project's way, in pairs of equal configuration and seed.

Run: python tests/benchmarks/equal_quality.py [--data FOLDER] [--seeds 6] [--seconds 3600] [--out FILE.json]

The six points of the wall-clock comparison (ResNet-18, 64 px, batch 64, 1,200 training images, 400 for validation, two
epochs), each with several seeds, on one thread in this process: by the training loop of plain_way.py, and by the parts
of the training function with `precision: fp32` and `bf16`. Both ways read the same JPEG files; initial weights and
order of the images are drawn by each way itself, so a pair shares its seed by name only, and the mean difference has
the noise of both. The value of a trial is its best epoch, as in the comparison. The next call goes on where one was
stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import plain_way
import torch
from compare_ways import DEFAULT_FOLDER, IMAGES, make_data
from learning_curves import learning_curve
from machine import commit_of, describe_machine
from points import BATCH_SIZE, IMAGE_SIZE_PX, POINTS

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.study_config import DataSpec
from study.data import load_data
from study.engine.ray.trainable import training_data
from study.files import write_text_atomic
from study.training.training_data import TrainingData

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "reference" / "equal_quality.json"
EPOCHS = 2
WAYS = ("plain", "fp32", "bf16")
RESAMPLES = 10_000


def train_plainly(point: dict[str, Any], seed: int, data: Path) -> list[float]:
    """Return the AUC after each epoch of the plain training loop."""
    torch.manual_seed(seed)
    model = plain_way.make_model(point["depth"])
    criterion, optimizer = torch.nn.BCEWithLogitsLoss(), plain_way.make_optimizer(point, model)
    train_loader, val_loader = plain_way.make_loaders(data, IMAGE_SIZE_PX, BATCH_SIZE, 0)
    values = []
    for _ in range(EPOCHS):
        plain_way.train_one_epoch(model, train_loader, criterion, optimizer)
        values.append(plain_way.validate(model, val_loader, criterion)["val_auc"])
    return values


def train_here(point: dict[str, Any], seed: int, precision: str, data: TrainingData) -> list[float]:
    """Return the AUC after each epoch of this project's training function."""
    common = {"max_epochs": EPOCHS, "batch_size": BATCH_SIZE, "augmentation": "none", "weight_decay": 0.0}
    fields = Hyperparameters(**point, **common, init="kaiming", precision=precision)
    return learning_curve(TrialConfig(**fields.model_dump(), seed=seed, point=seed), data)


def differences(values: dict[str, list[float]], way: str, points: range) -> dict[str, Any]:
    """Return the mean difference to the plain way over some points, and a 95 % interval that resamples seeds."""
    pairs = np.array([[a - b for a, b in zip(*pair, strict=True)] for pair in _pairs(values, way, points)])
    rng = np.random.default_rng(0)
    drawn = pairs[:, rng.integers(0, pairs.shape[1], (RESAMPLES, pairs.shape[1]))].mean(axis=(0, 2))
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"mean": round(float(pairs.mean()), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def _pairs(values: dict[str, list[float]], way: str, points: range) -> list[tuple[list[float], list[float]]]:
    seeds = min(len(values.get(f"{name}/{point}", ())) for name in ("plain", way) for point in points)
    return [(values[f"{way}/{point}"][:seeds], values[f"plain/{point}"][:seeds]) for point in points]


def main() -> None:
    """Train until the time is over, then write what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER / "data")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=0, help="another range takes another --out")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    make_data(options.data, IMAGES)
    spec = DataSpec(source="folder", path=str(options.data), image_size_px=IMAGE_SIZE_PX)
    here = training_data(load_data(spec), "crop")
    recorded = json.loads(options.out.read_text()) if options.out.exists() else {}
    values: dict[str, list[float]] = recorded.get("val_auc", {})
    until = time.monotonic() + options.seconds
    for seed in range(options.seeds):
        for number, point in enumerate(POINTS):
            for way in WAYS:
                done = values.setdefault(f"{way}/{number}", [])
                if len(done) > seed or time.monotonic() > until:
                    continue
                plainly, drawn = way == "plain", options.first_seed + seed
                curve = train_plainly(point, drawn, options.data) if plainly else train_here(point, drawn, way, here)
                done.append(max(curve))
        _write(options.out, values)


def _write(out: Path, values: dict[str, list[float]]) -> None:
    complete = min(len(values[f"{way}/{number}"]) for way in WAYS for number in range(len(POINTS)))
    result: dict[str, Any] = {}
    if complete:
        for way in WAYS[1:]:
            result[way] = {
                "all": differences(values, way, range(len(POINTS))),
                "adam": differences(values, way, range(3)),
                "sgd": differences(values, way, range(3, 6)),
            }
        best = {
            way: [max(values[f"{way}/{point}"][seed] for point in range(len(POINTS))) for seed in range(complete)]
            for way in WAYS
        }
        result["best_of_six_median"] = {way: round(statistics.median(best[way]), 4) for way in WAYS}
        result["seeds"] = complete
    about = {"machine": describe_machine(), "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    settings = {"points": POINTS, "epochs": EPOCHS, "image_size_px": IMAGE_SIZE_PX, "batch_size": BATCH_SIZE}
    record = {**about, "commit": commit_of(ROOT), "settings": settings, "result": result, "val_auc": values}
    write_text_atomic(out, json.dumps(record, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
