"""The state of a study folded from the events of its outbox; the same events give the same state."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from study.best_epoch import is_better
from study.events import FinalLookTaken, PicturesDrawn, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.records import StudyOutcome, TrialRecord, TrialState
from tracking.outbox.outbox import Line, read_lines
from tracking.outbox.provenance import Provenance


@dataclass(frozen=True)
class DriverSession:
    """A driver's run of the study; what is not known is left out of ``code`` and ``machine``.

    ``packages`` are those that affect results, ``installed`` are all of them.
    """

    at_s: float
    code: Mapping[str, str]
    machine: Mapping[str, str]
    packages: Mapping[str, str]
    installed: Mapping[str, str]


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
    """The state of a study after the first events of its outbox.

    ``since_s`` is when the study was started or resumed last, ``now_s`` when a trial ended last. ``code`` are the
    versions of the code that ran each running trial so far, ``ending`` is the last end even if the study was resumed
    after it. Records have no epochs, and only what a ranking needs unless ``whole_records``.
    """

    whole_records: bool = False
    sessions: list[DriverSession] = field(default_factory=list)

    study: StudyStarted | None = None
    provenance: Provenance | None = None
    outcome: StudyOutcome | None = None
    ending: StudyEnded | None = None
    started: set[int] = field(default_factory=set)
    running: dict[int, TrialRecord] = field(default_factory=dict)
    finished: dict[int, TrialRecord] = field(default_factory=dict)
    finished_at_s: dict[int, float] = field(default_factory=dict)
    drawn: set[int | None] = field(default_factory=set)
    best_value: float | None = None
    looked: set[tuple[int, int]] = field(default_factory=set)
    code: dict[int, tuple[str, ...]] = field(default_factory=dict)
    since_s: float = 0.0
    now_s: float = 0.0

    def update(self, line: Line) -> None:
        """Add one event; adding it again changes nothing."""
        event = line.event
        if isinstance(event, StudyStarted):
            self._begin(event, line.provenance)
        elif isinstance(event, TrialStarted):
            self._start(event.record)
        elif isinstance(event, TrialFinished):
            self._finish(event.record)
            self.finished_at_s[event.record.trial] = event.at_s
            self.now_s = max(self.now_s, event.at_s)
        elif isinstance(event, PicturesDrawn):
            self.drawn.add(event.trial)
        elif isinstance(event, FinalLookTaken):
            self.looked.add((event.look.trial, event.look.epoch))
        elif isinstance(event, StudyEnded):
            self.outcome, self.ending = event.outcome, event

    def count(self, state: TrialState) -> int:
        """Return how many trials ended in a state."""
        return sum(record.state is state for record in self.finished.values())

    @property
    def kept(self) -> tuple[int, ...]:
        """The trials whose weights the study still had at its last end, the best first."""
        if self.ending is None:
            return ()
        best = self.ending.best  # the only one that early versions named
        return self.ending.kept or (() if best is None or best.checkpoint is None else (best.trial,))

    def finish_event(self, trial: int) -> TrialFinished | None:
        """Return the end of a trial that has a checkpoint, None for any other trial."""
        record = self.finished.get(trial)
        return None if record is None or record.checkpoint is None else TrialFinished(record, self.finished_at_s[trial])

    def copy(self) -> StudyProgress:
        """Return a copy whose updates do not change this."""
        own: dict[str, Any] = {key: copy(value) for key, value in vars(self).items() if isinstance(value, Collection)}
        return replace(self, **own)

    def _begin(self, event: StudyStarted, provenance: Provenance | None) -> None:
        self.study, self.outcome = event, None
        self.provenance = provenance or self.provenance
        self.since_s = event.at_s
        if (session := _session(event, provenance)) not in self.sessions:
            self.sessions.append(session)

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
        """Return the part of a record that is kept in memory."""
        if self.whole_records:
            return replace(record, history=())
        objectives = () if self.study is None else self.study.spec.objective_list
        ranked_by = {"val_loss", *(objective.metric for objective in objectives)}
        return replace(
            record,
            # Each line of the outbox has its own copy of the same names.
            study=sys.intern(record.study),
            params={sys.intern(name): value for name, value in record.params.items()},
            metrics={sys.intern(name): value for name, value in record.metrics.items() if name in ranked_by},
            config={},
            history=(),
            error=None,
        )


def fold(lines: Iterable[Line], *, whole_records: bool = False) -> StudyProgress:
    """Return the state of a study after some lines of its outbox."""
    progress = StudyProgress(whole_records=whole_records)
    for line in lines:
        progress.update(line)
    return progress


def read_progress(outbox: Path, *, whole_records: bool = False) -> StudyProgress:
    """Fold a whole outbox but for the reports of epochs."""
    return fold(read_lines(outbox, reports=False), whole_records=whole_records)


def read_sessions(outbox: Path) -> list[DriverSession]:
    """Return the driver's runs of a study, the oldest first; none where the outbox cannot be read."""
    try:
        return fold(read_lines(outbox, only=StudyStarted)).sessions
    except OSError:
        return []
