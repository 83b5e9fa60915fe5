"""What happens during a study, as values, and the Protocol of whoever listens; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from study.config.study_config import StudySpec
from study.records import DataSummary, EpochMetrics, FinalLook, StopReason, StudyOutcome, TrialRecord


@dataclass(frozen=True)
class StudyStarted:
    """The engine begins or goes on; ``study_id`` never changes over a study's life.

    ``planned`` counts the trials there will be at most, ``finished`` those that had ended before; ``notices`` are
    facts the record must keep, such as a dropped value or skipped files; ``design`` describes in Markdown which
    points are run.
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
    """A trial was placed on a worker, for the first time or again (``attempt`` counts from 1)."""

    record: TrialRecord
    attempt: int
    at_s: float


@dataclass(frozen=True)
class EpochReported:
    """One epoch of a trial is over and acknowledged by the storage; reported once per (trial, epoch)."""

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
    """The figures of a finished trial, None for those of all trials, lie in the HTML file ``path``.

    May come after StudyEnded; those of all trials do, and again when a resumed study ends.
    """

    study: str
    trial: int | None
    path: str
    at_s: float


@dataclass(frozen=True)
class FinalLookTaken:
    """Somebody scored a selected checkpoint on the test images; that happens after a study, as a rule once."""

    study: str
    look: FinalLook


@dataclass(frozen=True)
class StudyEnded:
    """The engine stopped; ``reason`` says why it did before all planned trials ended, if so.

    ``kept`` are the trials that ended with a checkpoint whose weights are still there, the best by the objective first.
    """

    study: str
    outcome: StudyOutcome
    best: TrialRecord | None
    counts: dict[str, int]
    at_s: float
    reason: StopReason | None = None
    kept: tuple[int, ...] = ()


EpochEvents = Callable[[int], Sequence[EpochReported]]
"""Gives all that was reported of a trial, in the words of then, the oldest epoch first."""

Event = StudyStarted | TrialStarted | EpochReported | TrialFinished | PicturesDrawn | FinalLookTaken | StudyEnded


class Recorder(Protocol):
    """Receives every event, in order, from the engine's thread; must return at once and not raise for outages."""

    def record(self, event: Event) -> None:
        """Take one event."""

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> object:
        """Hear of trials that had begun or ended before a resume, after StudyStarted; most is known already."""

    def close(self) -> None:
        """Flush what is pending within reason; called once, after the last event."""
