"""The events of a study, and the Protocol of a recorder that receives them; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from study.config.study_config import StudySpec
from study.records import DataSummary, EpochMetrics, FinalLook, StopReason, StudyOutcome, TrialRecord


@dataclass(frozen=True)
class StudyStarted:
    """A run of a study starts or resumes; ``study_id`` never changes over a study's life.

    ``planned`` is the maximum number of trials, ``finished`` how many ended before; ``notices`` are facts to keep in
    the record, such as a dropped value or skipped files; ``design`` describes in Markdown which points are run.
    """

    study: str
    study_id: str
    spec: StudySpec
    study_file: str
    data: DataSummary
    resumed: bool
    finished: int
    slots: int
    device: str
    notices: tuple[str, ...]
    at_s: float
    planned: int = 0
    design: str = ""


@dataclass(frozen=True)
class TrialStarted:
    """A worker started a trial, for the first time or again (``attempt`` counts from 1)."""

    record: TrialRecord
    attempt: int
    at_s: float


@dataclass(frozen=True)
class EpochReported:
    """One epoch of a trial ended and is stored; once per (trial, epoch)."""

    study: str
    trial: int
    metrics: EpochMetrics
    best_value: float
    best_epoch: int
    at_s: float


@dataclass(frozen=True)
class TrialFinished:
    """A trial ended and its record is final."""

    record: TrialRecord
    at_s: float


@dataclass(frozen=True)
class PicturesDrawn:
    """The figures of a finished trial, or of all trials if None, are in the HTML file ``path``.

    May come after StudyEnded; those of all trials, the learning curves and the report, always do, and again when a
    resumed study ends.
    """

    study: str
    trial: int | None
    path: str
    at_s: float


@dataclass(frozen=True)
class FinalLookTaken:
    """A selected checkpoint was scored on the test images, usually once, after the study."""

    study: str
    look: FinalLook


@dataclass(frozen=True)
class StudyEnded:
    """A run of a study ended; ``reason`` is why it did before all planned trials ended, if so.

    ``kept`` are the trials whose weights are still there, the best by the objective first.
    """

    study: str
    outcome: StudyOutcome
    best: TrialRecord | None
    counts: dict[str, int]
    at_s: float
    reason: StopReason | None = None
    kept: tuple[int, ...] = ()


EpochEvents = Callable[[int], Sequence[EpochReported]]
"""Returns the events of a trial's epochs as first recorded, oldest first."""

Event = StudyStarted | TrialStarted | EpochReported | TrialFinished | PicturesDrawn | FinalLookTaken | StudyEnded


class Recorder(Protocol):
    """Receives every event in order, from the engine's thread; must return at once and not raise in an outage."""

    def record(self, event: Event) -> None:
        """Receive one event."""

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> object:
        """Receive trials that started or ended before a resume, after StudyStarted; most are known already."""

    def close(self) -> None:
        """Flush what is pending, in limited time; called once, after the last event."""
