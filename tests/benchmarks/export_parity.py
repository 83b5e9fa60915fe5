"""Export every family, depth and head with 2 and 5 classes, and compare each format with its checkpoint.

    .venv/bin/python tests/benchmarks/export_parity.py --out results/reference/export_parity.json

Weights are drawn, not trained; batch statistics are those of made-up pictures, so that activations look as in use.
Formats run in a fresh process. Writes JSON after each model and prints a table; it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.bundles.probe import probe_images
from study.checkpoint_card import CheckpointCard
from study.config.hyperparameters import Hyperparameters
from study.export import ExportOptions, Provenance, export_checkpoint
from study.files import write_text_atomic
from study.training.checkpoint import SelectedCheckpoint, save_best
from study.training.evaluate import compute_logits, load_model
from study.training.metrics import probabilities
from study.training.models.architectures import ARCHITECTURES, HEADS, build_model

STEPS = {
    "resize": "the central square", "resize_mode": "crop", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip


def write_checkpoint(directory: Path, config: Hyperparameters, classes: int, images: np.ndarray) -> Path:
    """Write a checkpoint of drawn weights whose batch norms know the images."""
    torch.manual_seed(0)
    names = tuple(f"class {k}" for k in range(classes))
    outputs = 1 if classes == 2 else classes
    model = build_model(config, outputs)
    steps: dict[str, Any] = {**STEPS, "image_size_px": images.shape[1]}
    mean, std = (torch.tensor(steps[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        model.train()
        for _ in range(20):
            model((torch.from_numpy(images[:16]).permute(0, 3, 1, 2) / 255 - mean) / std)
    weights = model.state_dict()
    again = load_model(config.model_dump(), outputs, weights)
    scores = probabilities(compute_logits(again, images, steps, "fp32", torch.device("cpu")))
    card = CheckpointCard(
        depth=config.depth, classes=names, preprocessing=steps, epoch=1, metrics={}, config=config.model_dump(),
        data_fingerprint="0" * 64, precision="fp32",
    )  # fmt: skip
    labels = np.arange(len(images)) % classes
    return save_best(directory, SelectedCheckpoint(weights, card, scores, labels))


def check(family: str, depth: int, head: str, classes: int, precision: str, images: np.ndarray) -> list[dict[str, Any]]:
    """Export one model and return its formats as they were compared."""
    config = Hyperparameters(family=family, depth=depth, head=head, head_width=64)  # type: ignore[arg-type]
    origin = Provenance("parity", "0", 0, None, "val_auc", 1)
    with tempfile.TemporaryDirectory(prefix="export-parity-") as scratch:
        checkpoint = write_checkpoint(Path(scratch), config, classes, images)
        formats = ("onnx", "pt2") if precision == "fp32" else ("onnx",)
        options = ExportOptions(formats, precision)  # type: ignore[arg-type]
        done = export_checkpoint(
            checkpoint, Path(scratch) / "bundle", images, origin, training_images=images, options=options
        )
    rows = [asdict(each) for each in done.checks]
    return [{key: value for key, value in row.items() if key not in ("probe", "file")} for row in rows]


def _line(key: str, row: dict[str, Any]) -> str:
    def number(name: str) -> float:
        return nan if row[name] is None else row[name]

    return (
        f"{key:30s} {row['format']:5s} {row['bytes'] / 1e6:7.1f} MB  logits {number('max_logit_difference'):.1e}  "
        f"changed {number('flipped'):.1%}  {number('latency_1_ms'):7.2f} ms  {row['fault'] or 'ok'}"
    )


def main() -> None:
    """Export and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--precisions", default="fp32")
    parser.add_argument("--most-depth", type=int, default=152)
    given = parser.parse_args()
    known = json.loads(given.out.read_text())["models"] if given.out.exists() else {}
    images = probe_images(given.size, given.images)
    for precision in given.precisions.split(","):
        for family, depth in sorted(ARCHITECTURES, key=lambda pair: (pair[1], pair[0])):
            for head in HEADS:
                for classes in (2, 5):
                    key = f"{family}-{depth} {head} {classes} {precision}"
                    if key in known or depth > given.most_depth:
                        continue
                    known[key] = check(family, depth, head, classes, precision, images)
                    write_text_atomic(given.out, json.dumps({"size_px": given.size, "models": known}, indent=1) + "\n")
                    for row in known[key][1:]:
                        print(_line(key, row), flush=True)
    sys.exit(any(row["fault"] for rows in known.values() for row in rows))


if __name__ == "__main__":
    main()
