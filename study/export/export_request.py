"""What a bundle is to hold, and what is known of the study its checkpoint comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from study.errors import UsageError
from study.export.formats.onnx_export import Precision

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,40}")


@dataclass(frozen=True)
class Provenance:
    """The origin of a bundle.

    ``candidates`` is the number of checkpoints it was chosen among, ``trials`` that of the trials that were run.
    """

    study: str
    study_id: str
    trial: int
    run_id: str | None
    ranked_by: str
    candidates: int
    trials: int = 0


@dataclass(frozen=True)
class FinalScores:
    """Metrics on the test images, empty if they were not scored; ``note`` says how often they were."""

    note: str = "not scored"
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """How sure a choice is: the value as measured, what it is when corrected for having been picked, and in words."""

    text: str
    raw: float | None = None
    corrected: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ScoredSet:
    """Scores in [0, 1] of a checkpoint on images, [M] or [M, K], with labels [M] and perhaps groups [M]."""

    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class StudyFacts:
    """What a card says beyond the checkpoint's own; all of it may be missing.

    Attributes:
        data_source: the images in words.
        class_counts: by image set, the images of each class in the order of the classes.
        selection: how sure the choice is.
        shifted: the scores on evaluation-only image sets.
        test: the scores on the test images, where they were looked at and stored.
        reproduction: a study file that trains the checkpoint again.
    """

    data_source: str = ""
    class_counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    selection: Selection | None = None
    shifted: Mapping[str, ScoredSet] = field(default_factory=dict)
    test: ScoredSet | None = None
    reproduction: str | None = None


@dataclass(frozen=True)
class ExportOptions:
    """What a bundle is to hold.

    Attributes:
        formats: of the model, beside safetensors.
        precision: of the ONNX model.
        threshold: a rule of ``choose_threshold``.
        overwrite: whether a bundle that is there may be replaced.
        licence: of the weights, as hubs name it; None where nobody has chosen one.

    Raises:
        UsageError: the precision is that of a model that is not asked for, or the licence is no identifier.
    """

    formats: tuple[Format, ...] = FORMATS
    precision: Precision = "fp32"
    threshold: str = "0.5"
    overwrite: bool = False
    licence: str | None = None

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.precision != "fp32" and "onnx" not in self.formats:
            raise UsageError(f"--precision {self.precision} is that of the ONNX model; add onnx to --formats")
        if self.licence is not None and not _LICENCE.fullmatch(self.licence):
            raise UsageError(
                f"--licence must be an identifier as on Hugging Face, such as mit, apache-2.0 or cc-by-4.0, but is "
                f"{self.licence!r}"
            )


def parse_formats(text: str) -> tuple[Format, ...]:
    """Return the formats that a list such as ``onnx,pt2`` names, in the order of ``FORMATS``, beside safetensors.

    Raises:
        UsageError: it names another.
    """
    named = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in named if name not in (*FORMATS, "safetensors")]:
        known = ",".join(("safetensors", *FORMATS))
        raise UsageError(f"--formats must be some of {known}, of which the first is always there, got {unknown[0]!r}")
    return tuple(name for name in FORMATS if name in named)


def parse_precision(text: str) -> Precision:
    """Return the precision of a name.

    Raises:
        UsageError: there is no such precision.
    """
    for precision in PRECISIONS:
        if precision == text:
            return precision
    raise UsageError(f"--precision must be one of {', '.join(PRECISIONS)}, got {text!r}")
