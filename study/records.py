"""The records of trials and studies: states, epochs, summaries; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from study.config.hyperparameters import Scalar, Setting
from study.config.search_config import Mode


class TrialState(StrEnum):
    """WAITING -> RUNNING -> COMPLETE | PRUNED | FAILED."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"

    @property
    def is_finished(self) -> bool:
        """Whether the record can no longer change."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


class StopReason(StrEnum):
    """Why a trial ended."""

    FINISHED = "finished"
    PRUNED = "pruned"
    EARLY_STOPPED = "early-stopped"
    TIME_BUDGET = "time budget"
    ACCELERATOR_BUDGET = "accelerator budget"
    TARGET = "target reached"
    FAILURES = "too many failures"
    USER = "user"
    ERROR = "error"


class StudyOutcome(StrEnum):
    """How one run of the engine ended; a stopped or interrupted study can be resumed."""

    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch; epochs count from 1."""

    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a study.

    Attributes:
        params: the searched values that exist in this trial; ``config`` has every hyperparameter.
        point: the number of its configuration; ``replicate`` numbers the runs of one configuration.
        value: the objective at ``epoch``, the best epoch; ``metrics`` are those of that epoch.
        checkpoint: the folder of that epoch; ``kept`` says whether its weights are still there, None if unknown.
        busy_s: the time on a worker, None if unknown; ``started_at_s`` and ``finished_at_s`` are since 1970.
    """

    study: str
    trial: int
    state: TrialState
    params: Mapping[str, Scalar]
    config: Mapping[str, Setting]
    seed: int = 0
    point: int = 0
    replicate: int = 0
    stop_reason: StopReason | None = None
    value: float | None = None
    epoch: int | None = None
    epochs_run: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: tuple[EpochMetrics, ...] = ()
    checkpoint: str | None = None
    kept: bool | None = True
    busy_s: float | None = 0.0
    run_id: str | None = None
    started_at_s: float | None = None
    finished_at_s: float | None = None
    attempts: int = 1
    error: str | None = None


@dataclass(frozen=True)
class FinalLook:
    """The evaluation of one checkpoint, that of a trial's selected epoch, on the test images.

    ``metrics`` have their bare names, ``ranked_by`` is the metric by which the checkpoint was chosen.
    """

    trial: int
    epoch: int
    ranked_by: str
    at_s: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class StudySummary:
    """One line of ``study list``."""

    name: str
    state: str
    trials: int
    complete: int
    pruned: int
    failed: int
    running: int
    planned: int
    metric: str
    mode: Mode
    best: float | None
    created_at_s: float


SHIFTED_SET_PREFIX = "shifted/"
"""Before the names of shifted sets, where they stand beside train, val and test."""


@dataclass(frozen=True)
class DataSummary:
    """The data of a study: enough to recognise it, never the images.

    ``sizes`` counts images per split (and per shifted set as ``shifted/<name>``); ``skipped`` lists unreadable files.
    """

    source: str
    fingerprint: str
    image_size_px: int
    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    class_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
