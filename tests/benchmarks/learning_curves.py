"""Record the learning curves of a grid of configurations, for `search_efficiency.py` to replay.

Run: python tests/benchmarks/learning_curves.py [--seconds 100] [--epochs 16] [--count 800] [--out FILE.json]

ResNet-10 on the built-in faces at 32 px, trained by the training function itself, one thread; every parameter of
`search_spaces/ablation.yaml` but depth and initialization, its ranges as a few values. After so many seconds it stops;
the next call goes on where it was, and the file names the machine of the last one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import commit_of, describe_machine

from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.config.study_config import DataSpec
from study.data import load_data
from study.engine.ray.trainable import training_data
from study.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]
CURVES = ROOT / "results" / "reference" / "learning_curves.json"
LEARNING_RATES = tuple(round(10 ** (-4 + step / 2), 7) for step in range(7))  # 1e-4 to 1e-1
MOMENTA = (0.0, 0.5, 0.9, 0.99)
AUGMENTATIONS = ("none", "rotate")
MAX_AUC = Objective(metric="val_auc", mode="max")


def grid() -> Iterator[dict[str, Any]]:
    """Yield every configuration of the grid."""
    for augmentation, rate in itertools.product(AUGMENTATIONS, LEARNING_RATES):
        common = {"init": "kaiming", "augmentation": augmentation, "learning_rate": rate}
        yield {**common, "optimizer": "adam"}
        for momentum in MOMENTA:
            yield {**common, "optimizer": "sgd", "momentum": momentum}


def main() -> None:
    """Record curves until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--count", type=int, default=800, help="faces rendered, 60:20:20")
    parser.add_argument("--out", type=Path, default=CURVES)
    options = parser.parse_args()
    settings = {"depth": 10, "image_size_px": 32, "count": options.count, "batch_size": 32, "epochs": options.epochs}
    recorded = json.loads(options.out.read_text()) if options.out.exists() else {"settings": settings, "curves": []}
    if recorded["settings"] != settings:
        raise SystemExit(f"{options.out} was recorded with {recorded['settings']}; give another --out")
    known = [curve["config"] for curve in recorded["curves"]]
    torch.set_num_threads(1)
    data = load_data(DataSpec(source="faces", image_size_px=32, count=options.count))
    images = replace(training_data(data, "crop"), shifted={})
    until = time.monotonic() + options.seconds
    for config in grid():
        if config in known:
            continue
        if time.monotonic() > until:
            break
        trial = TrialConfig(seed=0, point=0, depth=10, max_epochs=options.epochs, batch_size=32, **config)
        with tempfile.TemporaryDirectory() as folder:
            *_, last = train(trial, images, MAX_AUC, Path(folder), device=torch.device("cpu"))
        values = [round(epoch.values["val_auc"], 5) for epoch in last.history]
        recorded["curves"].append({"config": config, "val_auc": values})
    write(options.out, {**recorded, "machine": describe_machine(), "commit": commit_of(ROOT)})
    print(f"{len(recorded['curves'])} of {len(list(grid()))} curves in {options.out}")


def write(file: Path, recorded: dict[str, Any]) -> None:
    """Write the file with a line for each curve."""
    curves = ",\n".join(json.dumps(curve) for curve in recorded.pop("curves"))
    head = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in recorded.items())
    file.write_text(f'{{{head},\n"curves": [\n{curves}\n]}}\n')


if __name__ == "__main__":
    main()
