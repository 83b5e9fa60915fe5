"""What the events so far add up to; pure, so that a replay adds up to the same."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from study.events import FinalLookTaken, PicturesDrawn, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.records import StudyOutcome, TrialRecord, TrialState, is_better
from tracking.outbox import Line
from tracking.provenance import Provenance


@dataclass
class Progress:
    """The study as told by a prefix of its outbox."""

    study: StudyStarted | None = None
    provenance: Provenance | None = None
    outcome: StudyOutcome | None = None
    started: set[int] = field(default_factory=set)
    finished: dict[int, TrialState] = field(default_factory=dict)
    drawn: set[int] = field(default_factory=set)
    best: TrialRecord | None = None
    looked: set[tuple[int, int]] = field(default_factory=set)

    def take(self, line: Line) -> None:
        """Count one event; taking it twice changes nothing."""
        event = line.event
        if isinstance(event, StudyStarted):
            self.study, self.outcome = event, None
            self.provenance = line.provenance or self.provenance
        elif isinstance(event, TrialStarted):
            self.started.add(event.record.trial)
        elif isinstance(event, TrialFinished):
            self._finish(event.record)
        elif isinstance(event, PicturesDrawn):
            self.drawn.add(event.trial)
        elif isinstance(event, FinalLookTaken):
            self.looked.add((event.look.trial, event.look.epoch))
        elif isinstance(event, StudyEnded):
            self.outcome = event.outcome

    def count(self, state: TrialState) -> int:
        """Return how many trials ended in a state."""
        return sum(one is state for one in self.finished.values())

    def copy(self) -> Progress:
        """Return a copy that can be thrown away."""
        started, finished, drawn = set(self.started), dict(self.finished), set(self.drawn)
        return Progress(
            self.study, self.provenance, self.outcome, started, finished, drawn, self.best, set(self.looked)
        )

    def _finish(self, record: TrialRecord) -> None:
        self.started.add(record.trial)
        self.finished[record.trial] = record.state
        value = record.value
        if self.study is None or record.state is TrialState.FAILED or value is None or not math.isfinite(value):
            return
        if is_better(value, None if self.best is None else self.best.value, self.study.spec.objective.mode):
            self.best = record


def fold(lines: Iterable[Line]) -> Progress:
    """Add up a prefix of the outbox."""
    progress = Progress()
    for line in lines:
        progress.take(line)
    return progress
