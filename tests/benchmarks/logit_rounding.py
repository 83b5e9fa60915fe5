"""How far float32 moves logits, and which of torch and ONNX is nearer to float64: why parity is relative.

    .venv/bin/python tests/benchmarks/logit_rounding.py BUNDLE... --out results/reference/logit_rounding.json

Each BUNDLE is one that `study export-best` wrote; its ONNX model is written again from the weights, as one that failed
the comparison is not in it. Pictures are the built-in faces of another seed, labels do not matter.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import commit_of, describe_machine
from torch import nn

from study.bundles.bundle_config import parse_config
from study.export import load_bundle
from study.export.formats.classifier_graph import CalibratedModule, capture_graph
from study.export.formats.onnx_export import write_onnx

ROOT = Path(__file__).resolve().parents[2]
BATCH = 64
LEVELS = {"onnx": "ORT_ENABLE_ALL", "onnx_without_optimization": "ORT_DISABLE_ALL"}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=240)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "pictures": options.pictures,
        "bundles": [rounding(bundle, options.pictures) for bundle in options.bundles],
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


def rounding(folder: Path, count: int) -> dict[str, Any]:
    """Return how far the logits of each way are from those in float64, and from the reference of an export."""
    bundle = load_bundle(folder)
    images = faces(bundle.preprocessing["image_size_px"], count)
    exact = in_torch(copy.deepcopy(bundle.model).double(), bundle.preprocessing, images, torch.float64)
    plain = copy.deepcopy(bundle.model).to(memory_format=torch.contiguous_format)
    logits = {"reference": bundle.logits(images), "torch_contiguous": in_torch(plain, bundle.preprocessing, images)}
    with torch.backends.mkldnn.flags(enabled=False):
        logits["torch_without_onednn"] = in_torch(plain, bundle.preprocessing, images)
    logits |= in_onnx(folder, bundle.model, images)
    return {
        "trained": {name: bundle.config["provenance"][name] for name in ("epoch", "precision")}
        | {name: bundle.config["provenance"]["hyperparameters"][name] for name in ("optimizer", "learning_rate")},
        "val_auc": bundle.config["metrics"].get("val_auc"), "temperature": bundle.config["temperature"],
        "logits": [round(float(exact.min()), 2), round(float(exact.max()), 2)],
        "largest_difference_from_float64": {name: distance(each, exact) for name, each in logits.items()},
        "largest_difference_from_the_reference": {
            name: distance(each, logits["reference"]) for name, each in logits.items() if name != "reference"
        },
    }  # fmt: skip


def faces(size_px: int, count: int) -> np.ndarray:
    """Return built-in faces, uint8 [N, S, S, 3]."""
    from study.config.study_config import DataSpec
    from study.data import load_data

    data = load_data(DataSpec(source="faces", image_size_px=size_px, count=max(200, count), seed=11))
    return np.concatenate([data.train.images, data.val.images])[:count]


def in_torch(model: nn.Module, steps: Any, images: np.ndarray, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Return the logits by torch, normalized in the type the model computes in."""
    mean, std = (torch.tensor(steps[name]).view(1, 3, 1, 1).to(dtype) for name in ("mean", "std"))
    logits = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).to(dtype) / 255
            logits.append(model(((pixels - mean) / std).contiguous()))
    return torch.cat(logits).double().squeeze(1).numpy()


def in_onnx(folder: Path, model: nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the logits by onnxruntime, with all its optimizations of the graph and without any."""
    config = parse_config((folder / "config.json").read_text(), "config.json")
    program = capture_graph(CalibratedModule(model, config.preprocessing, config.temperature), config.image_size_px)
    logits = {}
    with tempfile.TemporaryDirectory() as scratch:
        write_onnx(program, config, Path(scratch) / "model.onnx")
        for name, level in LEVELS.items():
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
            options.intra_op_num_threads, options.log_severity_level = 1, 3
            session = onnxruntime.InferenceSession(f"{scratch}/model.onnx", options, ["CPUExecutionProvider"])
            batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
            logits[name] = np.concatenate([session.run(["logits"], {"images": batch})[0] for batch in batches])
    return logits


def distance(logits: np.ndarray, others: np.ndarray) -> float:
    """Return the largest difference, rounded to two digits."""
    return float(f"{np.abs(logits.astype(np.float64) - others).max():.1e}")


if __name__ == "__main__":
    main()
