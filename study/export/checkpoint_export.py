"""Export a checkpoint as a bundle: weights, graphs, configuration and card in a folder, checked after writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from study.bundles.bundle_config import FORMAT, BundleConfig, parse_config
from study.bundles.bundle_files import CARD, CONFIG, GRAPH, ONNX_MODEL, write_sums
from study.checkpoint_card import CheckpointCard, read_card
from study.errors import ExportError
from study.export.bundle import Bundle
from study.export.calibration import Calibration, calibrate, choose_threshold, logits_of, parse_rule
from study.export.classifier_graph import CalibratedModule, capture_graph
from study.export.model_card import bundle_card
from study.export.onnx_export import Precision, calibration_images, half_model, quantize, write_onnx
from study.export.torch_export import save_graph
from study.files import read_inside, staged_folder, write_atomic, write_text_atomic
from study.paths import WEIGHTS
from study.training.checkpoint import load_scores, parse_weights
from study.training.evaluate import ARCHITECTURE, load_model
from study.training.metrics import probabilities

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")
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
class ExportOptions:
    """What a bundle is to hold.

    Attributes:
        formats: of the model, beside safetensors.
        precision: of the ONNX model.
        threshold: a rule of ``choose_threshold``.
        overwrite: whether a bundle that is there may be replaced.
    """

    formats: tuple[Format, ...] = FORMATS
    precision: Precision = "fp32"
    threshold: str = "0.5"
    overwrite: bool = False


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
    *,
    training_images: NDArray[np.uint8] | None = None,
    options: ExportOptions | None = None,
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
        training_images: [N, S, S, 3], on which the ranges of an int8 model are measured.
        options: What the bundle is to hold.

    Raises:
        ExportError: the folder is not empty or cannot be written, the checkpoint cannot be read, or the bundle does
            not reproduce its scores.
    """
    options = options or ExportOptions()
    parse_rule(options.threshold)
    out = out.resolve()  # "." has no name to put a sibling beside
    require_empty_folder(out)
    source = _read_checkpoint(checkpoint)
    if validation_images is None:
        difference, logits = None, logits_of(source.scores)
        _check_stored_scores(source)
    else:
        difference, logits = _max_score_difference(source, validation_images), None
    logits = source.bundle.logits(validation_images) if logits is None and validation_images is not None else logits
    assert logits is not None
    calibration = calibrate(logits, source.labels)
    threshold = _threshold(options.threshold, logits / calibration.temperature, source.labels)
    contents = bundle_config(source.card, origin, test or FinalScores(), calibration, threshold, options)
    contents["metrics"] |= shifted or {}
    try:
        with staged_folder(out) as staging:
            write_atomic(staging / WEIGHTS, lambda file: file.write(source.weights))
            write_text_atomic(staging / CONFIG, json.dumps(contents, indent=2) + "\n")
            config = parse_config(json.dumps(contents), CONFIG)
            write_models(source.bundle, config, staging, options, training_images)
            write_text_atomic(staging / CARD, bundle_card(contents, difference, len(source.scores)))
            write_sums(staging)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error}") from error
    return ExportResult(tuple(sorted(out.iterdir())), difference)


@dataclass(frozen=True)
class _Source:
    """A checkpoint as read; ``scores`` and ``labels`` are those stored of the validation images."""

    card: CheckpointCard
    weights: bytes
    bundle: Bundle
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


def _read_checkpoint(folder: Path) -> _Source:
    try:
        card = read_card(folder)
        scores, labels = load_scores(folder)
        weights = read_inside(folder / WEIGHTS, folder)
        outputs = 1 if len(card.classes) == 2 else len(card.classes)
        model = load_model(card.config, outputs, parse_weights(weights, str(folder / WEIGHTS)))
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"cannot read the checkpoint in {folder}: {error}") from error
    if len(scores) != len(labels) or not len(scores) or not np.isfinite(scores).all():
        raise ExportError("a checkpoint's scores must be a finite number for every label; they are damaged")
    bundle = Bundle(model.to(memory_format=torch.channels_last), {"preprocessing": card.preprocessing})
    return _Source(card, weights, bundle, scores.astype(np.float64), labels.astype(np.int64))


def write_models(
    bundle: Bundle,
    config: BundleConfig,
    folder: Path,
    options: ExportOptions,
    training_images: NDArray[np.uint8] | None = None,
) -> None:
    """Write the graphs of a model into a bundle's folder; one captured program feeds all of the same precision.

    Raises:
        ExportError: int8 is asked for without training images.
    """
    size, steps = config.image_size_px, config.preprocessing
    scorer = CalibratedModule(bundle.model, steps, config.temperature)
    program = capture_graph(scorer, size)
    if "pt2" in options.formats:
        save_graph(program, folder / GRAPH)
    if "onnx" not in options.formats:
        return
    file = folder / ONNX_MODEL
    if options.precision == "fp16":
        program = capture_graph(CalibratedModule(half_model(bundle.model), steps, config.temperature), size)
    write_onnx(program, config, file)
    if options.precision == "int8":
        if training_images is None:
            raise ExportError("int8 needs the study's pictures to measure ranges on; --data DIR names where they are")
        quantize(file, calibration_images(training_images), config, file)


def bundle_config(
    card: CheckpointCard,
    origin: Provenance,
    test: FinalScores,
    calibration: Calibration,
    threshold: float | None,
    options: ExportOptions,
) -> dict[str, Any]:
    """Return the contents of a bundle's configuration: how to use the model, and its origin."""
    two = len(card.classes) == 2
    defaults = {"family": "resnet", "head": "linear", "head_width": None, "head_dropout": 0.0}
    architecture = {name: card.config.get(name, defaults.get(name)) for name in ARCHITECTURE}
    return {
        "format": FORMAT,
        "architecture": {
            **{name: value for name, value in architecture.items() if value is not None},
            "outputs": 1 if two else len(card.classes),
            "input": "float32 [N, 3, S, S], RGB",
        },
        "preprocessing": {"resize_mode": "crop", **card.preprocessing},
        "classes": list(card.classes),
        "positive_class": card.classes[1] if two else None,
        "temperature": calibration.temperature,
        "threshold": threshold,
        "threshold_rule": options.threshold if two else None,
        "precisions": {name: options.precision if name == "onnx" else "fp32" for name in options.formats},
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


def _threshold(rule: str, scaled: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    if scaled.ndim > 1:
        if rule != "0.5":
            raise ExportError(
                f"only two classes have a threshold, but there are {scaled.shape[1]}; leave --threshold {rule} out"
            )
        return None
    # A threshold must lie between probabilities as the model gives them.
    return choose_threshold(rule, probabilities(scaled).astype(np.float32).astype(np.float64), labels)


def _check_stored_scores(source: _Source) -> None:
    """Check that stored scores give the card's accuracy and that the loaded model scores noise with finite numbers."""
    scores, card = source.scores, source.card
    chosen = (scores > 0.5).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    accuracy, stored = float((chosen == source.labels).mean()), card.metrics.get("val_accuracy")
    if stored is not None and abs(accuracy - stored) > STORED_TOLERANCE:
        raise ExportError(
            f"a checkpoint's scores must give its accuracy {stored:.5f}, but give {accuracy:.5f}; they are damaged"
        )
    size = card.preprocessing["image_size_px"]
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    if not np.isfinite(source.bundle.scores(noise, card.precision)).all():
        raise ExportError("a model must give finite scores, but this one does not; its weights are damaged")


def _max_score_difference(source: _Source, images: NDArray[np.uint8]) -> float:
    card, scores = source.card, source.scores
    again = source.bundle.scores(images, card.precision)
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
