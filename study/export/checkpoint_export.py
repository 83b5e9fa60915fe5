"""Export a checkpoint as a bundle: weights, graphs, configuration and card in a folder, checked before it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.bundles.bundle_config import FORMAT, parse_config
from study.bundles.bundle_files import CARD, CONFIG, METRICS, MODELS, PREDICT, README, REPRODUCE, SUMS, write_sums
from study.bundles.probe import probe_images
from study.checkpoint_card import CheckpointCard, read_card
from study.errors import BundleError, ExportError, UsageError
from study.export import predict_script
from study.export.bundle import Bundle
from study.export.calibration import Calibration, calibrate, choose_threshold, logits_of, parse_rule
from study.export.card.card_metrics import bundle_metrics
from study.export.card.model_card import bundle_card
from study.export.export_request import ExportOptions, FinalScores, Provenance, ScoredSet, StudyFacts
from study.export.formats.parity import FormatCheck, Reference, check_formats
from study.export.formats.write import write_models
from study.files import open_inside, read_inside, staged_folder, write_atomic, write_text_atomic
from study.paths import SCORES, WEIGHTS
from study.training.checkpoint import load_scores, parse_weights
from study.training.evaluate import ARCHITECTURE, load_model
from study.training.metrics import probabilities

# Of scores in [0, 1]: bf16 has 8 bits of mantissa, and the check may run on other hardware than the training.
TOLERANCES: Mapping[str, float] = {"fp32": 1e-3, "bf16": 5e-2}
# A GPU sums in another order, and its fp32 convolutions round their inputs to TF32: single scores near 0.5 move more.
OTHER_DEVICE_TOLERANCE = 0.2
STORED_TOLERANCE = 1e-4
"""Of an accuracy that the trial computed from logits, before they became probabilities."""
PROBES, MADE_UP = 8, 64
"""Made-up images: those whose logits are remembered, and those that stand in for pictures that are gone."""


@dataclass(frozen=True)
class ExportResult:
    """A finished bundle; without the difference where the pictures were not there to score again.

    ``checks`` are the formats as they were compared; those with a fault are not in the bundle.
    """

    files: tuple[Path, ...]
    max_score_difference: float | None
    checks: tuple[FormatCheck, ...] = ()

    @property
    def failed(self) -> tuple[FormatCheck, ...]:
        """The formats that were not as good as the checkpoint and were deleted."""
        return tuple(check for check in self.checks if check.fault is not None)


def require_empty_folder(out: Path, *, overwrite: bool = False) -> None:
    """Check that a bundle can be written to a folder.

    Raises:
        ExportError: it is a file, or not empty, or where it may be overwritten no bundle.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    is_bundle = _is_bundle(out)
    if overwrite and not is_bundle:
        raise ExportError(
            f"--overwrite replaces a bundle that holds no other folders, but {out} is none; name another with --out"
        )
    if not overwrite:
        more = ", or replace the bundle with --overwrite" if is_bundle else ""
        raise ExportError(f"a bundle's folder must be new or empty, but {out} is not; name another with --out{more}")


def _is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle and nothing else, so that it may be deleted."""
    try:
        parse_config(read_inside(folder / CONFIG, folder), CONFIG)
        return (folder / WEIGHTS).is_file() and not any(path.is_dir() for path in folder.iterdir())
    except (OSError, BundleError):
        return False


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
    facts: StudyFacts | None = None,
) -> ExportResult:
    """Write the bundle of a selected checkpoint.

    Args:
        checkpoint: The checkpoint's folder.
        out: A new or empty folder.
        validation_images: [M, S, S, 3], those the checkpoint was selected on, in the same order. Without them the
            stored scores are checked against the stored metrics, and the model on made-up images.
        origin: Where it comes from.
        test: Its scores on the test images.
        shifted: Its metrics on evaluation-only image sets, as ``shifted.<set>.<metric>``.
        training_images: [N, S, S, 3], on which the ranges of an int8 model are measured.
        options: What the bundle is to hold.
        facts: What else its card says.

    Raises:
        ExportError: the folder is not empty or cannot be written, the checkpoint cannot be read, or the bundle does
            not reproduce its scores.
    """
    options, facts, test = options or ExportOptions(), facts or StudyFacts(), test or FinalScores()
    parse_rule(options.threshold)
    out = out.resolve()  # "." has no name to put a sibling beside
    require_empty_folder(out, overwrite=options.overwrite)
    source = _read_checkpoint(checkpoint)
    difference = None
    if validation_images is None:
        _check_stored_scores(source)
        logits = logits_of(source.scored.scores)
    else:
        difference = _max_score_difference(source, validation_images)
        logits = source.bundle.logits(validation_images)
    calibration = calibrate(logits, source.scored.labels)
    threshold = select_threshold(options.threshold, logits / calibration.temperature, source.scored.labels)
    contents = bundle_config(source.card, origin, test, calibration, threshold, options)
    contents["metrics"] |= shifted or {}
    reference = _reference(source, validation_images, logits, contents)
    metrics = bundle_metrics(contents, source.scored, calibration, test, facts, difference)
    try:
        with staged_folder(out, replaces=options.overwrite) as staging:
            write_atomic(staging / WEIGHTS, lambda file: file.write(source.weights))
            _write_json(staging / CONFIG, contents)
            config = parse_config(json.dumps(contents), CONFIG)
            write_models(source.bundle.model, config, staging, contents["precisions"], training_images)
            if facts.reproduction is not None:
                write_text_atomic(staging / REPRODUCE, facts.reproduction)
            checks = _check_formats(staging, contents, reference)
            metrics |= {"formats": [asdict(check) for check in checks], "probe_images": PROBES}
            _write_json(staging / METRICS, metrics)
            write_text_atomic(staging / CARD, bundle_card(contents, metrics))
            shutil.copyfile(staging / CARD, staging / README)
            write_sums(staging)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error}") from error
    return ExportResult(tuple(sorted(out.iterdir())), difference, checks)


@dataclass(frozen=True)
class _Source:
    """A checkpoint as read; ``scored`` are the validation images as it stored them."""

    card: CheckpointCard
    weights: bytes
    bundle: Bundle
    scored: ScoredSet


def read_scored(folder: Path) -> tuple[CheckpointCard, ScoredSet]:
    """Read the card of a checkpoint and its scores on the validation images; it need not hold the weights.

    Raises:
        ExportError: they cannot be read, or are damaged.
    """
    try:
        card = read_card(folder)
        scores, labels = load_scores(folder)
        with open_inside(folder / SCORES, folder) as file, np.load(file) as stored:
            groups = stored.get("groups")
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read the checkpoint in {folder}: {error}") from error
    if len(scores) != len(labels) or not len(scores) or not np.isfinite(scores).all():
        raise ExportError("a checkpoint's scores must be a finite number for every label; they are damaged")
    return card, ScoredSet(scores.astype(np.float64), labels.astype(np.int64), groups)


def _read_checkpoint(folder: Path) -> _Source:
    card, scored = read_scored(folder)
    try:
        weights = read_inside(folder / WEIGHTS, folder)
        outputs = 1 if len(card.classes) == 2 else len(card.classes)
        model = load_model(card.config, outputs, parse_weights(weights, str(folder / WEIGHTS)))
    except (OSError, ValueError, RuntimeError) as error:
        raise ExportError(f"cannot read the checkpoint in {folder}: {error}") from error
    bundle = Bundle(model.to(memory_format=torch.channels_last), {"preprocessing": card.preprocessing})
    return _Source(card, weights, bundle, scored)


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
        "licence": options.licence,
        "precisions": {
            "safetensors": "fp32",
            **{name: options.precision if name == "onnx" else "fp32" for name in options.formats},
        },
        "metrics": dict(card.metrics),
        "test": asdict(test),
        "provenance": {
            **asdict(origin),
            "epoch": card.epoch,
            "hyperparameters": dict(card.config),
            "precision": card.precision,
            "data_fingerprint": card.data_fingerprint,
        },
    }  # fmt: skip


def select_threshold(rule: str, scaled: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """Return the threshold of a rule, None for more than two classes.

    Args:
        rule: of ``choose_threshold``.
        scaled: calibrated logits, [N] or [N, K].
        labels: [N].

    Raises:
        UsageError: the rule needs two classes.
    """
    if scaled.ndim > 1:
        if rule != "0.5":
            raise UsageError(
                f"only two classes have a threshold, but there are {scaled.shape[1]}; leave --threshold {rule} out"
            )
        return None
    # A threshold must lie between probabilities as the model gives them, also where it is rounded to their type.
    threshold = choose_threshold(rule, probabilities(scaled).astype(np.float32).astype(np.float64), labels)
    rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(0)))


def _reference(
    source: _Source, images: NDArray[np.uint8] | None, logits: NDArray[np.float64], contents: Mapping[str, Any]
) -> Reference:
    """Return what formats are compared with: the validation images, or where they are gone made-up ones."""
    size = source.card.preprocessing["image_size_px"]
    probes, labels = probe_images(size, PROBES), None if images is None else source.scored.labels
    if images is None:
        images = probe_images(size, PROBES + MADE_UP)[PROBES:]
        logits = source.bundle.logits(images)
    return Reference(np.concatenate([images, probes]), logits, labels, contents["temperature"], contents["threshold"])


def _check_formats(folder: Path, contents: dict[str, Any], reference: Reference) -> tuple[FormatCheck, ...]:
    """Check every format, and delete those that are not as good as the checkpoint.

    Raises:
        ExportError: the weights are not.
    """
    write_sums(folder)
    checks = check_formats(folder, contents["precisions"], reference)
    weights, *others = checks
    if weights.fault is not None:
        raise ExportError(f"the bundle's weights must give the checkpoint's scores, but {weights.fault}")
    for check in others:
        if check.fault is not None:
            (folder / MODELS[check.format]).unlink()
            del contents["precisions"][check.format]
    _write_json(folder / CONFIG, contents)
    if "onnx" in contents["precisions"]:
        assert predict_script.__file__ is not None
        shutil.copyfile(predict_script.__file__, folder / PREDICT)
    (folder / SUMS).unlink()
    return checks


def _write_json(file: Path, contents: Mapping[str, Any]) -> None:
    write_text_atomic(file, json.dumps(contents, indent=2) + "\n")


def _check_stored_scores(source: _Source) -> None:
    """Check that stored scores give the card's accuracy and that the loaded model scores noise with finite numbers."""
    scores, card = source.scored.scores, source.card
    chosen = (scores > 0.5).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
    accuracy, stored = float((chosen == source.scored.labels).mean()), card.metrics.get("val_accuracy")
    if stored is not None and abs(accuracy - stored) > STORED_TOLERANCE:
        raise ExportError(
            f"a checkpoint's scores must give its accuracy {stored:.5f}, but give {accuracy:.5f}; they are damaged"
        )
    noise = probe_images(card.preprocessing["image_size_px"], 2)
    if not np.isfinite(source.bundle.scores(noise, card.precision)).all():
        raise ExportError("a model must give finite scores, but this one does not; its weights are damaged")


def _max_score_difference(source: _Source, images: NDArray[np.uint8]) -> float:
    card, scores = source.card, source.scored.scores
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
