"""Verify a bundle that came from somewhere: its sums, its configuration, and what its models give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.bundles.bundle_config import BundleConfig, parse_config
from study.bundles.bundle_files import CONFIG, METRICS, MODELS, BundleFiles, unlisted
from study.bundles.probe import probe_images
from study.errors import BundleError
from study.export.formats.parity import LOGIT_TOLERANCE, logit_size, run_formats

_MOST_PROBES = 64
REMEMBERED: Mapping[str, float] = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.5}
"""How far a logit may be from what it was at the export, by precision: another processor sums in another order.

It is relative to the largest logit where that is above 1, as all differences of logits."""


@dataclass(frozen=True)
class Finding:
    """One thing that was verified; ``is_right`` is None where it was not looked at."""

    what: str
    is_right: bool | None
    detail: str


def verify_bundle(folder: Path, *, run_graph: bool = False) -> Iterator[Finding]:
    """Yield what is right and wrong with a bundle; the first thing that is wrong ends it if no other can be known.

    Args:
        folder: of the bundle.
        run_graph: whether `model.pt2` is run too; loading it executes the pickles in it.
    """
    try:
        files = BundleFiles.open(folder)
        yield Finding("sums", True, f"{len(files.sums)} files are as they were exported{_others(files)}")
        config = parse_config(files.read(CONFIG), str(folder / CONFIG))
        precisions = _precisions(config, files)
        remembered = _remembered(files, precisions)
    except BundleError as error:
        yield Finding("files", False, str(error))
        return
    yield Finding("configuration", True, f"{len(config.classes)} classes: {', '.join(config.classes)}")
    count = {len(logits) for logits in remembered.values()}.pop()
    weights = None
    names = [name for name in precisions if run_graph or name != "pt2"]
    outcomes = run_formats(folder, names, probe_images(config.image_size_px, count))
    for name, precision in precisions.items():
        if name not in outcomes:
            detail = "not run, since loading it executes pickles; --run-graph runs it, for a bundle you made yourself"
            yield Finding(MODELS[name], None, detail)
            continue
        outcome = outcomes[name]
        if isinstance(outcome, str):
            yield Finding(MODELS[name], False, outcome)
            continue
        weights = outcome["logits"] if name == "safetensors" else weights
        yield _compared(name, precision, outcome["logits"], remembered[name], weights)


def _compared(
    name: str, precision: str, logits: NDArray[Any], remembered: NDArray[Any], weights: NDArray[Any] | None
) -> Finding:
    """Compare logits of made-up images with those at the export, and with those of the weights."""
    if logits.shape != remembered.shape:
        fault = f"its logits are {list(logits.shape)} instead of {list(remembered.shape)}"
        return Finding(MODELS[name], False, fault)
    if not (np.isfinite(logits).all() and np.isfinite(remembered).all()):
        return Finding(MODELS[name], False, "its logits are not finite, or those at the export were not")
    difference = float(np.abs(logits - remembered).max())
    text = f"{precision}, logits of {len(logits)} made-up images within {difference:.1e} of those at the export"
    most = REMEMBERED[precision] * min(logit_size(logits), logit_size(remembered))
    if not difference <= most:
        return Finding(MODELS[name], False, f"{text}, more than {most:.3g}")
    if weights is None or precision not in LOGIT_TOLERANCE or name == "safetensors":
        return Finding(MODELS[name], True, text)
    apart = float(np.abs(logits - weights).max())
    text = f"{text} and {apart:.1e} of the weights'"
    most = LOGIT_TOLERANCE[precision] * logit_size(weights)
    if not apart <= most:
        return Finding(MODELS[name], False, f"{text}, more than {most:.3g}")
    return Finding(MODELS[name], True, text)


def _others(files: BundleFiles) -> str:
    others = unlisted(files)
    return f"; without a sum: {', '.join(map(repr, others[:5]))}" if others else ""


def _precisions(config: BundleConfig, files: BundleFiles) -> dict[str, str]:
    """Return the precision of each format, which must be there."""
    named = config.contents.get("precisions")
    if not isinstance(named, dict) or "safetensors" not in named:
        raise BundleError(f"{files.folder / CONFIG} must name the formats and their precisions, but does not")
    for name, precision in named.items():
        if name not in MODELS or not isinstance(precision, str) or precision not in REMEMBERED:
            raise BundleError(
                f"{files.folder / CONFIG} must name formats such as onnx, but has {name!r}: {precision!r}"
            )
        if MODELS[name] not in files.sums:
            raise BundleError(f"{files.folder} must hold {MODELS[name]}, as {CONFIG} says, but does not")
    return named


def _remembered(files: BundleFiles, precisions: Mapping[str, str]) -> dict[str, NDArray[np.float64]]:
    """Return the logits of made-up images at the export, by format."""
    try:
        checks = json.loads(files.read(METRICS))["formats"]
        logits = {check["format"]: np.array(check["probe"], np.float64) for check in checks}
        counts = {len(logits[name]) for name in precisions}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"{files.folder / METRICS} must hold what the models gave, but is damaged: {error}"
        ) from error
    if len(counts) != 1 or not 0 < min(counts) <= _MOST_PROBES:
        raise BundleError(f"{files.folder / METRICS} must hold as many logits of each format, but has {sorted(counts)}")
    return logits
