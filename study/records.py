"""What is known of trials and studies: states, metrics, records; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
class Metric:
    """A number a trial reports: the better direction, None where there is none, its unit and what it means."""

    mode: Mode | None
    unit: str
    text: str


VAL_PREFIX = "val_"
SHIFTED_PREFIX = "shifted."
TEST_PREFIX = "test."
PER_CLASS = ("precision", "recall", "f1")

EVALUATED: Mapping[str, Metric] = {
    "loss": Metric("min", "nat", "mean cross-entropy"),
    "accuracy": Metric("max", "1", "fraction classified right, which for two classes is at score 0.5"),
    "auc": Metric("max", "1", "area under the ROC curve; with more classes the mean over each against the rest"),
    "f1": Metric("max", "1", "F1 of the positive class at score 0.5; with more classes the mean over them"),
    "macro_precision": Metric("max", "1", "mean precision of the classes"),
    "macro_recall": Metric("max", "1", "mean recall of the classes, which is the balanced accuracy"),
    "macro_f1": Metric("max", "1", "mean F1 of the classes"),
    "ece": Metric("min", "1", "expected calibration error: mean gap of confidence and accuracy in 15 bins"),
    "threshold": Metric(None, "1", "score threshold of the best balanced accuracy; two classes only"),
}
"""What is known of every image set that is scored, by its bare name; a class that is missing hides some."""


def _on(images: str, metric: Metric) -> Metric:
    return replace(metric, text=f"{metric.text}; on {images}")


METRICS: Mapping[str, Metric] = {
    "train_loss": Metric("min", "nat", "mean of the loss that is minimised over the epoch's training batches"),
    "train_accuracy": Metric("max", "1", "fraction of training images classified right, while training"),
    **{VAL_PREFIX + name: _on("the validation images", metric) for name, metric in EVALUATED.items()},
    "learning_rate": Metric(None, "1", "learning rate at the end of the epoch"),
    "epoch_s": Metric("min", "s", "wall-clock time of the epoch, validation included"),
    "images_per_s": Metric("max", "1/s", "training images per second, validation excluded"),
    "peak_memory_bytes": Metric("min", "byte", "peak memory of the device (GPU) or of the process (CPU)"),
    "latency_ms": Metric("min", "ms", "median time to classify one image, on the trial's device"),
    "parameters": Metric("min", "1", "number of the model's parameters"),
}
"""What every trial reports after every epoch, besides ``val_<PER_CLASS>.<class>``."""


def metric_named(name: str) -> Metric | None:
    """Return the metric of this name, None where no trial can report it.

    Beside METRICS there are ``val_recall.<class>``, ``shifted.<set>.<name>`` and ``test.<name>``, where ``<name>``
    is one of EVALUATED or ``<PER_CLASS>.<class>``. Whether there is such a set or class is not known here.
    """
    if sets := shifted_sets(name):
        bare = name.removeprefix(f"{SHIFTED_PREFIX}{sets[0]}.")
        metric, images = _evaluated(bare), f"the images of shifted set {sets[0]}"
    elif name.startswith(TEST_PREFIX):
        metric, images = _evaluated(name.removeprefix(TEST_PREFIX)), "the test images"
    elif name.startswith(VAL_PREFIX):
        metric, images = _evaluated(name.removeprefix(VAL_PREFIX)), "the validation images"
    else:
        return METRICS.get(name)
    return _on(images, metric) if metric else None


def shifted_sets(name: str) -> tuple[str, ...]:
    """Return the set a ``shifted.<set>.<name>`` is about, or each it may be where names have dots; else nothing."""
    if not name.startswith(SHIFTED_PREFIX):
        return ()
    parts = name.removeprefix(SHIFTED_PREFIX).split(".")
    splits = ((".".join(parts[:at]), ".".join(parts[at:])) for at in range(1, len(parts)))
    return tuple(images for images, bare in splits if images and _evaluated(bare))


def _evaluated(bare: str) -> Metric | None:
    """Return a metric of an image set by its name without prefix."""
    kind, _, of_class = bare.partition(".")
    if of_class and kind in PER_CLASS:
        text = f"{'F1' if kind == 'f1' else kind} of class {of_class} against the rest"
        return Metric("max", "1", text)
    return EVALUATED.get(bare)


@dataclass(frozen=True)
class EpochMetrics:
    """The metrics of one epoch; epochs count from 1."""

    epoch: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study remembers it.

    ``params`` are the searched values that exist in this trial, ``config`` every hyperparameter;
    ``metrics`` are those of ``epoch``, the best epoch by the objective; ``checkpoint`` is its folder, which holds its
    weights too as long as they are ``kept``. ``point`` numbers the configurations, ``replicate`` the runs of one.
    Times are seconds since 1970; ``busy_s`` is the time on a worker. ``value`` is the objective at ``epoch``.
    ``kept`` and ``busy_s`` are None where nobody knows.
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
    """The test images as one checkpoint scored on them: the epoch selected of a trial, and when it was looked at.

    ``metrics`` go by their bare names, ``ranked_by`` is what the checkpoint was chosen by.
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
