"""Bundles: a checkpoint's weights, configuration and card in a folder, verified after writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.checkpoint_card import CheckpointCard, read_card
from study.errors import ExportError
from study.export.model_card import bundle_card
from study.paths import WEIGHTS, read_inside, staged_folder, write_atomic, write_text_atomic
from study.training.checkpoint import load_scores, load_weights
from study.training.evaluate import ARCHITECTURE, compute_logits, load_model
from study.training.metrics import probabilities

CONFIG, CARD = "config.json", "README.md"


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle, which scores images."""

    model: nn.Module
    config: Mapping[str, Any]

    def scores(self, images: NDArray[np.uint8], precision: str = "fp32") -> NDArray[np.float64]:
        """Return scores in [0, 1]: of the positive class [N] for two classes, else of every class [N, K].

        Args:
            images: [N, S, S, 3] RGB, S as in the configuration.
            precision: fp32, or bf16 to compute as a trial on fast hardware did.

        Raises:
            ExportError: the images have another shape.
        """
        steps = self.config["preprocessing"]
        size = steps["image_size_px"]
        if images.shape[1:] != (size, size, 3):
            raise ExportError(f"images must be [N, {size}, {size}, 3], but are {list(images.shape)}")
        return probabilities(compute_logits(self.model, images, steps, precision, torch.device("cpu")))


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle.

    Raises:
        ExportError: it is no bundle, or its weights do not fit its architecture.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        architecture = config["architecture"]
        model = load_model(architecture, architecture["outputs"], load_weights(folder))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ExportError(f"{folder} must hold a whole bundle, but cannot be loaded: {error}") from error
    return Bundle(model.to(memory_format=torch.channels_last), config)


THRESHOLD = 0.5
# Of scores in [0, 1]: bf16 has 8 bits of mantissa, and the check may run on other hardware than the training.
TOLERANCES: Mapping[str, float] = {"fp32": 1e-3, "bf16": 5e-2}
# A GPU sums in another order, and its fp32 convolutions round their inputs to TF32: single scores near 0.5 move more.
OTHER_DEVICE_TOLERANCE = 0.2
STORED_TOLERANCE = 1e-4
"""Of an accuracy that the trial computed from logits, before they became probabilities."""


@dataclass(frozen=True)
class Provenance:
    """The origin of a bundle; ``candidates`` is the number of checkpoints it was chosen among."""

    study: str
    study_id: str
    trial: int
    run_id: str | None
    ranked_by: str
    candidates: int


@dataclass(frozen=True)
class FinalScores:
    """Metrics on the test images, empty if they were not scored; ``note`` says how often they were."""

    note: str = "not scored"
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportResult:
    """A finished bundle; without the difference where the pictures were not there to score again."""

    files: tuple[Path, ...]
    max_score_difference: float | None


def require_empty_folder(out: Path) -> None:
    """Check that a bundle can be written to a folder.

    Raises:
        ExportError: it is a file, or not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"a bundle's folder must be new or empty, but {out} is not; name another with --out")


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    validation_images: NDArray[np.uint8] | None,
    origin: Provenance,
    test: FinalScores | None = None,
    shifted: Mapping[str, float] | None = None,
) -> ExportResult:
    """Write the bundle of a selected checkpoint.

    Args:
        checkpoint: The checkpoint's folder.
        out: A new or empty folder.
        validation_images: [M, S, S, 3], those the checkpoint was selected on, in the same order. Without them the
            stored scores are checked against the stored metrics, and the model on noise.
        origin: Where it comes from.
        test: Its scores on the test images.
        shifted: Its metrics on evaluation-only image sets, as ``shifted.<set>.<metric>``.

    Raises:
        ExportError: the folder is not empty or cannot be written, the checkpoint cannot be read, or the bundle does
            not reproduce its scores.
    """
    out = out.resolve()  # "." has no name to put a sibling beside
    require_empty_folder(out)
    try:
        card = read_card(checkpoint)
        scores, labels = load_scores(checkpoint)
        weights = read_inside(checkpoint / WEIGHTS, checkpoint)
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read the checkpoint in {checkpoint}: {error}") from error
    config = bundle_config(card, origin, test or FinalScores())
    config["metrics"] |= shifted or {}
    try:
        with staged_folder(out) as staging:
            write_atomic(staging / WEIGHTS, lambda file: file.write(weights))
            write_text_atomic(staging / CONFIG, json.dumps(config, indent=2) + "\n")
            bundle, difference = load_bundle(staging), None
            if validation_images is None:
                _check_stored_scores(bundle, card, scores, labels)
            else:
                difference = _max_score_difference(bundle, card, scores, validation_images)
            write_text_atomic(staging / CARD, bundle_card(config, difference, len(scores)))
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error}") from error
    return ExportResult(tuple(sorted(out.iterdir())), difference)


def bundle_config(card: CheckpointCard, origin: Provenance, test: FinalScores) -> dict[str, Any]:
    """Return the contents of a bundle's configuration: how to use the model, and its origin."""
    two = len(card.classes) == 2
    defaults = {"family": "resnet", "head": "linear", "head_width": None, "head_dropout": 0.0}
    architecture = {name: card.config.get(name, defaults.get(name)) for name in ARCHITECTURE}
    return {
        "format": 1,
        "architecture": {
            **{name: value for name, value in architecture.items() if value is not None},
            "outputs": 1 if two else len(card.classes),
            "input": "float32 [N, 3, S, S], RGB",
        },
        "preprocessing": {"resize_mode": "crop", **card.preprocessing},
        "classes": list(card.classes),
        "positive_class": card.classes[1] if two else None,
        "threshold": THRESHOLD if two else None,
        "balanced_threshold": card.metrics.get("val_threshold", THRESHOLD) if two else None,
        "metrics": dict(card.metrics),
        "test": asdict(test),
        "provenance": {
            **asdict(origin),
            "epoch": card.epoch,
            "hyperparameters": dict(card.config),
            "precision": card.precision,
            "data_fingerprint": card.data_fingerprint,
        },
    }


def _check_stored_scores(
    bundle: Bundle, card: CheckpointCard, scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> None:
    """Check that stored scores give the card's accuracy and that the loaded model scores noise with finite numbers."""
    if len(scores) != len(labels) or not len(scores) or not np.isfinite(scores).all():
        raise ExportError("a checkpoint's scores must be a finite number for every label; they are damaged")
    chosen = (scores > THRESHOLD).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    accuracy, stored = float((chosen == labels).mean()), card.metrics.get("val_accuracy")
    if stored is not None and abs(accuracy - stored) > STORED_TOLERANCE:
        raise ExportError(
            f"a checkpoint's scores must give its accuracy {stored:.5f}, but give {accuracy:.5f}; they are damaged"
        )
    size = bundle.config["preprocessing"]["image_size_px"]
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    if not np.isfinite(bundle.scores(noise, card.precision)).all():
        raise ExportError("a model must give finite scores, but this one does not; its weights are damaged")


def _max_score_difference(
    bundle: Bundle, card: CheckpointCard, scores: NDArray[np.float64], images: NDArray[np.uint8]
) -> float:
    again = bundle.scores(images, card.precision)
    if len(again) != len(scores):
        raise ExportError(
            f"the checkpoint was scored on {len(scores)} validation images, but there are {len(again)} now"
        )
    difference = float(np.abs(again - scores).max())
    tolerance = TOLERANCES[card.precision] if card.device == "cpu" else OTHER_DEVICE_TOLERANCE
    if not difference <= tolerance:  # so that NaN fails too
        raise ExportError(
            f"a bundle must give its checkpoint's scores within {tolerance:g}, but one differs by {difference:.3g}; "
            "the checkpoint is damaged, nothing was written"
        )
    return difference
