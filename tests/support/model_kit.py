"""Checkpoints small enough to be stored by the dozen and real enough to be loaded, and a process that loads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from study.config.hyperparameters import Hyperparameters
from study.export.formats import measure, parity
from study.paths import SCORES
from study.training.checkpoint import CheckpointCard, SelectedCheckpoint, best_folder, save_best
from study.training.evaluate import compute_logits
from study.training.metrics import probabilities
from study.training.models.architectures import build_model

torch.set_num_threads(1)  # the images are too few to share

SIZE = 24
TWO, THREE = ("off", "on"), ("top", "middle", "bottom")
IMAGES = np.random.default_rng(5).integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)


def real_checkpoint(directory: Path, seed: int = 0, classes: tuple[str, ...] = TWO, **config: Any) -> Path:
    """Write a checkpoint of untrained weights with the scores it gives IMAGES."""
    torch.manual_seed(seed)
    settings = Hyperparameters(**{"depth": 10, **config})
    model = build_model(settings, 1 if len(classes) == 2 else len(classes)).eval()
    steps = {
        "image_size_px": SIZE, "resize": "the central square", "resize_mode": "crop",
        "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3],
    }  # fmt: skip
    scores = probabilities(compute_logits(model, IMAGES, steps, "fp32", torch.device("cpu")))
    card = CheckpointCard(
        depth=settings.depth, classes=classes, preprocessing=steps, epoch=2, metrics={"val_auc": 0.7},
        config=settings.model_dump(), data_fingerprint="f" * 64, precision="fp32",
    )  # fmt: skip
    save_best(directory, SelectedCheckpoint(model.state_dict(), card, scores, np.arange(len(IMAGES)) % len(classes)))
    return best_folder(directory, 2)


def check_formats_here(patch: pytest.MonkeyPatch) -> None:
    """Let `export` and `verify` run formats in this process, without the seconds in which a new one imports torch."""

    def run(command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
        assert "study.export.formats.measure" in command
        threads = torch.get_num_threads()
        try:
            with warnings.catch_warnings():
                measure.main(*map(str, command[4:]))
        finally:
            torch.set_num_threads(threads)
        return subprocess.CompletedProcess(command, 0, "", "")

    patch.setattr(parity, "subprocess", SimpleNamespace(run=run))
    patch.setattr(measure, "_ENOUGH_S", 0.0)


def check_formats_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """Take ``check_formats_here`` back for a test: formats run in a process of their own, as for a user."""
    patch.setattr(parity, "subprocess", subprocess)


def stored_scores(checkpoint: Path) -> np.ndarray:
    """Return the scores that lie in a checkpoint's folder."""
    with np.load(checkpoint / SCORES) as stored:
        return np.asarray(stored["scores"])


@dataclass(frozen=True)
class Loaded:
    """What another process made of some models: of each its scores, as a Python function and as plain torch."""

    scores: list[np.ndarray]
    modules: frozenset[str]


_LOADER = """
import json, sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[3].split(","):
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
images, scores = np.load(sys.argv[2]), []
for uri in sys.argv[4:]:
    flavor, _, uri = uri.partition(" ")
    if flavor == "pyfunc":
        scores.append(mlflow.pyfunc.load_model(uri).predict(images).tolist())
    else:
        import torch
        with torch.no_grad():
            scores.append(mlflow.pytorch.load_model(uri)(torch.from_numpy(images)).tolist())
print(json.dumps([scores, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def load_elsewhere(tracking_uri: str, models: list[str], scratch: Path, without: tuple[str, ...]) -> Loaded:
    """Load models in a process that cannot import some packages, and score IMAGES with each.

    Args:
        tracking_uri: where the models are.
        models: ``pyfunc URI`` or ``pytorch URI``.
        scratch: an empty folder.
        without: the packages.
    """
    np.save(scratch / "images.npy", IMAGES)
    done = subprocess.run(
        [sys.executable, "-c", _LOADER, tracking_uri, scratch / "images.npy", ",".join(without), *models],
        capture_output=True, text=True, check=False, cwd=scratch,
        env={
            **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores, modules = json.loads(done.stdout.splitlines()[-1])
    return Loaded([np.array(row) for row in scores], frozenset(modules))
