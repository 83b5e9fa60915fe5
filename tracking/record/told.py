"""Say what an outbox tells of a study's checkpoints and of its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from study.events import StudyEnded, StudyStarted, TrialFinished
from tracking.record.outbox import read_lines
from tracking.record.provenance import Provenance


@dataclass(frozen=True)
class Told:
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


def read_told(outbox: Path) -> Told:
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
    return Told(study, provenance, finished, ended)
