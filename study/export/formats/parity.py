"""Whether each format of a model gives the same as the checkpoint, measured in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.bundles.bundle_files import MODELS
from study.training.metrics import probabilities, roc_auc

Floats = NDArray[np.floating]
Outcome = dict[str, NDArray[Any]] | str
"""Outputs and times of a format, or why there are none."""
LOGIT_TOLERANCE: Mapping[str, float] = {"fp32": 1e-4, "fp16": 0.02}
"""Of logits up to 1 in size; of larger ones relative to the largest."""
AUC_TOLERANCE, FLIPPED_TOLERANCE = 0.005, 0.01
"""Of int8: how much AUC may be lost, and which share of decisions may change."""
PROBABILITY_TOLERANCE = 1e-5
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Reference:
    """What every format is compared with.

    Attributes:
        images: uint8 [N + P, S, S, 3], P of them only to be remembered what a format makes of them.
        logits: those of the checkpoint in float32, [N] or [N, K].
        labels: [N], None where the images are made up.
        temperature: of the bundle.
        threshold: of the bundle.
    """

    images: NDArray[np.uint8]
    logits: Floats
    labels: NDArray[np.int64] | None
    temperature: float
    threshold: float | None


@dataclass(frozen=True)
class FormatCheck:
    """One format, compared and timed; ``fault`` says why it is not as good as the checkpoint, None where it is.

    ``flipped`` is the share of decisions that differ, ``auc_drop`` None where AUC is not known. Latencies are CPU
    time of one thread. ``probe`` are the logits of those images that have none in the reference.
    """

    format: str
    file: str
    precision: str
    bytes: int
    images: int
    max_logit_difference: float | None = None
    flipped: float | None = None
    auc_drop: float | None = None
    latency_1_ms: float | None = None
    latency_64_ms: float | None = None
    fault: str | None = None
    probe: list[Any] = field(default_factory=list)


def check_formats(folder: Path, precisions: Mapping[str, str], reference: Reference) -> tuple[FormatCheck, ...]:
    """Run the formats of the bundle in a folder in a fresh process and compare each.

    Args:
        folder: of the bundle, with its sums.
        precisions: by format: fp32, fp16 or int8.
        reference: what to compare them with.
    """
    measured = run_formats(folder, list(precisions), reference.images)
    checks = []
    for name, precision in precisions.items():
        size = (folder / MODELS[name]).stat().st_size
        check = FormatCheck(name, MODELS[name], precision, size, len(reference.logits))
        outcome = measured[name]
        checks.append(
            replace(check, fault=outcome) if isinstance(outcome, str) else _compare(check, outcome, reference)
        )
    return tuple(checks)


def _compare(check: FormatCheck, measured: Mapping[str, NDArray[Any]], reference: Reference) -> FormatCheck:
    number, precision = len(reference.logits), check.precision
    times = {key: float(measured[key]) for key in ("latency_1_ms", "latency_64_ms")}
    check = replace(check, latency_1_ms=times["latency_1_ms"], latency_64_ms=times["latency_64_ms"])
    logits, scores = measured["logits"][:number], measured["probabilities"][:number]
    if logits.shape != reference.logits.shape or scores.shape != logits.shape:
        shapes = f"{list(logits.shape)} and {list(scores.shape)}"
        return replace(check, fault=f"its outputs are {shapes} instead of {list(reference.logits.shape)}")
    if not np.isfinite(measured["logits"]).all() or not np.isfinite(measured["probabilities"]).all():
        return replace(check, fault="its outputs are not finite")
    difference = float(np.abs(logits - reference.logits).max())
    size = logit_size(reference.logits)
    wanted = probabilities(reference.logits / reference.temperature)
    flipped = float((_decide(scores, reference) != _decide(wanted, reference)).mean())
    drop = _auc_drop(logits, reference)
    fault = _fault(precision, difference, size, flipped, drop)
    if np.abs(scores - probabilities(logits / reference.temperature)).max() > PROBABILITY_TOLERANCE:
        fault = "its probabilities are not those of its logits at the temperature"
    return replace(
        check, max_logit_difference=difference, flipped=flipped, auc_drop=drop, fault=fault,
        probe=measured["logits"][number:].tolist(),
    )  # fmt: skip


def run_formats(folder: Path, names: Sequence[str], images: NDArray[np.uint8]) -> dict[str, Outcome]:
    """Run formats of the bundle in a folder in a fresh process; return of each its outputs and times, or its fault."""
    with tempfile.TemporaryDirectory(prefix="study-parity-") as scratch:
        pictures = Path(scratch) / "images.npy"
        np.save(pictures, images)
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(
            # -P: the current folder may be the bundle's, from which nothing may be imported.
            [sys.executable, "-P", "-m", "study.export.formats.measure", folder, pictures, scratch, *names],
            capture_output=True, text=True, errors="replace", check=False, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        said = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        return {name: _outcome(Path(scratch) / name, said[-1]) for name in names}


def logit_size(logits: Floats) -> float:
    """Return what differences of logits are judged by: the largest of them, at least 1."""
    return max(1.0, float(np.abs(logits).max(initial=0)))  # float32 rounds large logits more


def _outcome(stem: Path, said: str) -> Outcome:
    """Return what a process wrote of a format; ``said`` were its last words."""
    stored = stem.with_suffix(".npz")
    if stored.exists():
        with np.load(stored, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    fault = stem.with_suffix(".txt")
    return f"it cannot be loaded or run: {fault.read_text(encoding='utf-8') if fault.exists() else said}"


def _fault(precision: str, difference: float, size: float, flipped: float, drop: float | None) -> str | None:
    if precision in LOGIT_TOLERANCE:
        most = LOGIT_TOLERANCE[precision] * size
        return None if difference <= most else f"a logit differs by {difference:.3g}, more than {most:g}"
    if flipped > FLIPPED_TOLERANCE:
        return f"{flipped:.2%} of the decisions differ, more than {FLIPPED_TOLERANCE:.0%}"
    if drop is not None and drop > AUC_TOLERANCE:
        return f"AUC drops by {drop:.4f}, more than {AUC_TOLERANCE:g}"
    return None


def _decide(scores: Floats, reference: Reference) -> NDArray[np.int64]:
    if reference.threshold is None:
        likeliest: NDArray[np.int64] = np.argmax(scores, axis=1)
        return likeliest
    return (scores > reference.threshold).astype(np.int64)


def _auc_drop(logits: Floats, reference: Reference) -> float | None:
    """Return by how much AUC, of several classes its mean of each against the rest, is lower than the checkpoint's."""
    labels, wanted = reference.labels, reference.logits
    classes = 2 if wanted.ndim == 1 else wanted.shape[1]
    if labels is None or (np.bincount(labels, minlength=classes) == 0).any():
        return None
    if wanted.ndim == 1:
        return roc_auc(wanted, labels) - roc_auc(logits, labels)
    before, after = probabilities(wanted), probabilities(logits)
    of_class = [(labels == k).astype(np.int64) for k in range(classes)]
    drops = [roc_auc(before[:, k], of_class[k]) - roc_auc(after[:, k], of_class[k]) for k in range(classes)]
    return float(np.mean(drops))
