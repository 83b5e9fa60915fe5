"""What is known of trials and studies: states, metrics, records; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from study.hyperparameters import Scalar
from study.spec import Mode


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
    USER = "user"
    ERROR = "error"


class StudyOutcome(StrEnum):
    """How one run of the engine ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class Metric:
    """A number every trial reports per epoch: the better direction, its unit and what it means."""

    mode: Mode | None
    unit: str
    text: str


METRICS: Mapping[str, Metric] = {
    "train_loss": Metric("min", "nat", "mean binary cross-entropy over the epoch's training batches"),
    "train_accuracy": Metric("max", "1", "fraction of training images classified right at score 0.5, while training"),
    "val_loss": Metric("min", "nat", "mean binary cross-entropy on the validation images"),
    "val_accuracy": Metric("max", "1", "fraction of validation images classified right at score 0.5"),
    "val_auc": Metric("max", "1", "area under the ROC curve on the validation images"),
    "val_f1": Metric("max", "1", "F1 of the positive class on the validation images at score 0.5"),
    "learning_rate": Metric(None, "1", "learning rate at the end of the epoch"),
    "epoch_s": Metric("min", "s", "wall-clock time of the epoch, validation included"),
    "images_per_s": Metric("max", "1/s", "training images per second, validation excluded"),
    "peak_memory_bytes": Metric("min", "byte", "peak memory of the device (GPU) or of the process (CPU)"),
}


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch; epochs count from 1."""

    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study remembers it.

    ``params`` are the searched values that exist in this trial, ``config`` every hyperparameter;
    ``metrics`` are those of ``epoch``, the best epoch by the objective, whose weights ``checkpoint`` holds.
    Times are seconds since 1970. ``value`` is the objective at ``epoch``.
    """

    study: str
    trial: int
    state: TrialState
    params: Mapping[str, Scalar]
    config: Mapping[str, Scalar | None]
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
    run_id: str | None = None
    started_at_s: float | None = None
    finished_at_s: float | None = None
    attempts: int = 1
    error: str | None = None


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


@dataclass(frozen=True)
class DataSummary:
    """What data a study ran on: enough to recognise it, never the images.

    ``sizes`` counts images per split (and per shifted set as ``shifted/<name>``); ``skipped`` lists unreadable files.
    """

    source: str
    fingerprint: str
    image_size_px: int
    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    class_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def is_better(value: float, than: float | None, mode: Mode) -> bool:
    """Whether ``value`` is strictly better; anything beats None."""
    return than is None or (value > than if mode == "max" else value < than)
