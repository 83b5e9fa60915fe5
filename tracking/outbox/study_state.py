"""What the events so far add up to; pure, so that a replay adds up to the same."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from study.best_epoch import is_better
from study.events import FinalLookTaken, PicturesDrawn, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.records import StudyOutcome, TrialRecord, TrialState
from tracking.outbox.outbox import Line, read_lines
from tracking.outbox.provenance import Provenance

_MARK = b'"kind":"StudyStarted"'
_MARK_WITHIN_BYTES = 64


@dataclass(frozen=True)
class DriverSession:
    """A driver's run of the study; what is not known is left out of ``code`` and ``machine``.

    ``packages`` are those that results hang on, ``installed`` are all there were.
    """

    at_s: float
    code: Mapping[str, str]
    machine: Mapping[str, str]
    packages: Mapping[str, str]
    installed: Mapping[str, str]


def sessions(outbox: Path) -> list[DriverSession]:
    """Return every session that the outbox tells of, the oldest first; none where there is no outbox."""
    offsets = []
    try:
        with outbox.open("rb") as file:
            at = 0
            for line in file:
                if _MARK in line[:_MARK_WITHIN_BYTES]:
                    offsets.append(at)
                at += len(line)
    except OSError:
        return []
    lines = (next(read_lines(outbox, offset), None) for offset in offsets)
    return [_session(one.event, one.provenance) for one in lines if one and isinstance(one.event, StudyStarted)]


def _session(event: StudyStarted, origin: Provenance | None) -> DriverSession:
    machine = {"device": event.device, "slots": str(event.slots)}
    if origin is None:
        return DriverSession(event.at_s, {}, machine, {}, {})
    code = {"commit": origin.commit, "changed": None if origin.dirty is None else str(origin.dirty).lower()}
    if origin.dirty and origin.code:
        code["code"] = origin.code
    return DriverSession(
        event.at_s,
        {name: value for name, value in code.items() if value},
        {"host": origin.host, "user": origin.user, "system": origin.system, "python": origin.python, **machine},
        dict(origin.packages),
        dict(origin.installed),
    )


@dataclass
class StudyProgress:
    """The study as told by a prefix of its outbox.

    ``since_s`` is when the study began or went on, ``now_s`` when a trial ended last. ``code`` is what each running
    trial was run by so far.
    """

    study: StudyStarted | None = None
    provenance: Provenance | None = None
    outcome: StudyOutcome | None = None
    started: set[int] = field(default_factory=set)
    running: dict[int, TrialRecord] = field(default_factory=dict)
    finished: dict[int, TrialRecord] = field(default_factory=dict)
    drawn: set[int | None] = field(default_factory=set)
    best_value: float | None = None
    looked: set[tuple[int, int]] = field(default_factory=set)
    code: dict[int, tuple[str, ...]] = field(default_factory=dict)
    since_s: float = 0.0
    now_s: float = 0.0

    def update(self, line: Line) -> None:
        """Count one event; taking it twice changes nothing."""
        event = line.event
        if isinstance(event, StudyStarted):
            self._begin(event, line.provenance)
        elif isinstance(event, TrialStarted):
            self._start(event.record)
        elif isinstance(event, TrialFinished):
            self._finish(event.record)
            self.now_s = max(self.now_s, event.at_s)
        elif isinstance(event, PicturesDrawn):
            self.drawn.add(event.trial)
        elif isinstance(event, FinalLookTaken):
            self.looked.add((event.look.trial, event.look.epoch))
        elif isinstance(event, StudyEnded):
            self.outcome = event.outcome

    def count(self, state: TrialState) -> int:
        """Return how many trials ended in a state."""
        return sum(one.state is state for one in self.finished.values())

    def copy(self) -> StudyProgress:
        """Return a copy that can be thrown away."""
        return replace(
            self,
            started=set(self.started),
            running=dict(self.running),
            finished=dict(self.finished),
            drawn=set(self.drawn),
            looked=set(self.looked),
            code=dict(self.code),
        )

    def _begin(self, event: StudyStarted, provenance: Provenance | None) -> None:
        self.study, self.outcome = event, None
        self.provenance = provenance or self.provenance
        self.since_s = event.at_s

    def _start(self, record: TrialRecord) -> None:
        self.started.add(record.trial)
        if record.trial in self.finished:
            return
        self.running[record.trial] = self._kept(record)
        code = self.provenance and self.provenance.code
        known = self.code.get(record.trial, ())
        if code and known[-1:] != (code,):
            self.code[record.trial] = (*known, code)

    def _finish(self, record: TrialRecord) -> None:
        self.started.add(record.trial)
        self.running.pop(record.trial, None)
        self.code.pop(record.trial, None)
        self.finished[record.trial] = self._kept(record)
        value = record.value
        if self.study is None or record.state is TrialState.FAILED or value is None or not math.isfinite(value):
            return
        if is_better(value, self.best_value, self.study.spec.objective.mode):
            self.best_value = value

    def _kept(self, record: TrialRecord) -> TrialRecord:
        """Return what a ranking takes of a record, a tenth of it."""
        objectives = () if self.study is None else self.study.spec.objective_list
        ranked_by = {"val_loss", *(objective.metric for objective in objectives)}
        return replace(
            record,
            # Each line of the outbox brings its own copy of the same names.
            study=sys.intern(record.study),
            params={sys.intern(name): value for name, value in record.params.items()},
            metrics={sys.intern(name): value for name, value in record.metrics.items() if name in ranked_by},
            config={},
            history=(),
            error=None,
        )


def fold(lines: Iterable[Line]) -> StudyProgress:
    """Add up a prefix of the outbox."""
    progress = StudyProgress()
    for line in lines:
        progress.update(line)
    return progress


@dataclass(frozen=True)
class OutboxSummary:
    """A study as its whole outbox tells it.

    ``finished`` are the trials that ended with a checkpoint, without their epochs.
    """

    study: StudyStarted | None = None
    provenance: Provenance | None = None
    finished: Mapping[int, TrialFinished] = field(default_factory=dict)
    ended: StudyEnded | None = None

    @property
    def kept(self) -> tuple[int, ...]:
        """The trials whose weights the study still had at its last end, the best first."""
        if self.ended is None:
            return ()
        best = self.ended.best  # all that an end of former days named
        return self.ended.kept or (() if best is None or best.checkpoint is None else (best.trial,))


def read_outbox_summary(outbox: Path) -> OutboxSummary:
    """Read a whole outbox but for the reports of epochs."""
    study, provenance, ended = None, None, None
    finished: dict[int, TrialFinished] = {}
    for line in read_lines(outbox, reports=False):
        event = line.event
        if isinstance(event, StudyStarted):
            study, provenance = event, line.provenance or provenance
        elif isinstance(event, TrialFinished) and event.record.checkpoint is not None:
            finished[event.record.trial] = replace(event, record=replace(event.record, history=()))
        elif isinstance(event, StudyEnded):
            ended = event
    return OutboxSummary(study, provenance, finished, ended)
