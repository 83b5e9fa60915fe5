"""Try claims on the built-in faces: augmentation, rotation pretraining, momentum, fast convolutions.

A seed sets the initial weights, the data order and the augmentations; the two sides of a claim share them, so that
their difference is paired. What is printed is what came out, "no difference" included.

    .venv/bin/python tests/benchmarks/claims.py --only convolutions --out results/reference/convolutions.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from machine import commit_of, describe_machine
from scipy.stats import t as student

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import Objective
from study.config.study_config import DataSpec, RotationSpec, stable_seed
from study.data import load_data
from study.files import write_text_atomic
from study.training.rotation_pretraining import pretrain
from study.training.trainer import train
from study.training.training_data import LabelledImages, TrainingData, pixel_statistics

DATA = DataSpec(image_size_px=64, count=2000)
SEEDS = (0, 1, 2)
CPU = torch.device("cpu")
ROTATION = RotationSpec(epochs=10)


@dataclass(frozen=True)
class Claim:
    """Two or more settings of which the first is the plain one, and the metrics they are compared by."""

    question: str
    settings: Mapping[str, Mapping[str, Any]]
    epochs: int
    metrics: tuple[str, ...]
    seeds: tuple[int, ...] = SEEDS


CLAIMS = {
    "augmentation": Claim(
        "does augmentation help on the shifted sets?",
        {"none": {}, "standard": {"augmentation": "standard"}, "offcentre": {"augmentation": "offcentre"}},
        6,
        ("val_auc", "shifted.offcentre.auc", "shifted.lowlight.auc", "shifted.patterns.auc"),
    ),
    "rotation": Claim(
        "does rotation pretraining help in the first epoch?",
        {"kaiming": {}, "rotation": {"init": "rotation"}},
        1,
        ("val_auc", "val_loss"),
    ),
    "momentum": Claim(
        "does momentum 0.9 help SGD at learning rate 0.01?",
        {
            "momentum 0": {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.0},
            "momentum 0.9": {"optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9},
        },
        6,
        ("val_auc", "val_loss"),
    ),
    "convolutions": Claim(
        "do convolutions by Winograd's algorithm train as well as torch's?",
        {
            "torch": {"depth": 10, "precision": "fp32", "channels_last": False},
            "winograd": {"depth": 10, "precision": "fp32", "channels_last": True},
        },
        3,
        ("val_auc", "val_loss", "shifted.offcentre.auc"),
        seeds=(0, 1, 2, 3, 4, 5),
    ),
}


@cache
def data() -> TrainingData:
    """Return the built-in faces as a trial sees them."""
    bundle = load_data(DATA, workers=1)
    mean, std = pixel_statistics(bundle.train.images)
    return TrainingData(
        bundle.train.images, bundle.train.labels, bundle.val.images, bundle.val.labels,
        bundle.classes, bundle.summary.fingerprint,
        {name: LabelledImages(images.images, images.labels) for name, images in bundle.shifted.items()}, mean, std,
    )  # fmt: skip


def run(job: tuple[str, str, int]) -> dict[str, Any]:
    """Train one setting with one seed; return its metrics at the selected epoch."""
    claim, setting, seed = job
    torch.set_num_threads(1)
    config = TrialConfig(
        **{"depth": 18, "max_epochs": CLAIMS[claim].epochs, **CLAIMS[claim].settings[setting]},
        seed=stable_seed(seed, "replicate", 0),
        point=0,
    )
    row: dict[str, Any] = {"claim": claim, "setting": setting, "seed": seed}
    weights = None
    if config.init == "rotation":
        done = pretrain(
            Hyperparameters(depth=18), ROTATION, data().train_images, data().val_images, seed=seed, device=CPU
        )
        weights, row["pretext_accuracy"], row["pretext_s"] = done.weights, done.accuracy, done.seconds
    with tempfile.TemporaryDirectory() as folder:
        objective = Objective(metric="val_auc", mode="max")
        *_, last = train(config, data(), objective, Path(folder), weights=weights, device=CPU)
    assert last.best_epoch is not None
    metrics = {**last.history[last.best_epoch - 1].values, **last.evaluation}
    curve = [epoch.values["val_auc"] for epoch in last.history]
    return {**row, "epoch": last.best_epoch, "val_auc_by_epoch": curve,
            "metrics": {name: metrics[name] for name in CLAIMS[claim].metrics}}  # fmt: skip


def differences(names: Sequence[str], runs: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Compare every setting with the plain one of its claim: mean paired difference and its 95 % t interval."""
    for name in names:
        claim = CLAIMS[name]
        plain, *others = claim.settings
        for other in others:
            for metric in claim.metrics:
                sides = [
                    [each["metrics"][metric] for each in runs if (each["claim"], each["setting"]) == (name, setting)]
                    for setting in (plain, other)
                ]
                gaps = [after - before for before, after in zip(*sides, strict=True)]
                half = student.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
                differs = abs(statistics.mean(gaps)) > half
                yield {"claim": name, "setting": other, "against": plain, "metric": metric,
                       "plain": [round(auc, 4) for auc in sides[0]], "changed": [round(auc, 4) for auc in sides[1]],
                       "mean_difference": round(statistics.mean(gaps), 4), "half_interval": round(half, 4),
                       "verdict": "differs" if differs else "no difference shown"}  # fmt: skip


def main() -> None:
    """Run every setting with every seed and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(CLAIMS), default=list(CLAIMS))
    options = parser.parse_args()
    jobs = [(name, own, seed) for name in options.only for seed in CLAIMS[name].seeds for own in CLAIMS[name].settings]
    load_data(DATA)
    with ProcessPoolExecutor(options.workers) as pool:
        runs = list(pool.map(run, jobs))
    compared = list(differences(options.only, runs))
    report = {"machine": describe_machine(), "commit": commit_of(Path(__file__).parent),
              "data": DATA.model_dump(mode="json"), "seeds": {name: CLAIMS[name].seeds for name in options.only},
              "rotation": ROTATION.model_dump(), "differences": compared, "runs": runs}  # fmt: skip
    write_text_atomic(options.out, json.dumps(report, indent=1) + "\n")
    for row in compared:
        print(
            f"{row['claim']:13s} {row['setting']:13s} against {row['against']:11s} {row['metric']:22s} "
            f"{row['mean_difference']:+.4f} +- {row['half_interval']:.4f}  {row['verdict']}"
        )


if __name__ == "__main__":
    main()
