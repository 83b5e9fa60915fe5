"""Tell the run of one trial what became of the trial; telling it again changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from study.events import EpochReported, Event, PicturesDrawn, TrialFinished, TrialStarted
from study.layout import WEIGHTS, StudyLayout
from study.records import TrialRecord, TrialState
from tracking.record.progress import Progress
from tracking.sending.registry import Registry
from tracking.server.artifacts import CHECKPOINT, store_diff, store_file, store_folder, store_text
from tracking.server.door import Door, Run
from tracking.server.refusals import unless_refused
from tracking.telling import content
from tracking.telling.content import Batch

_log = logging.getLogger("tracking")


@dataclass(frozen=True, slots=True)
class News:
    """An event of a trial; ``code`` is what the trial was run by until then."""

    event: Event
    code: tuple[str, ...] = ()


class TrialRun:
    """The run of one trial; those of several trials may be told at the same time, each by a thread of its own.

    ``progress`` is only asked for what does not change while a driver is at work: the study and where it runs.
    """

    def __init__(self, door: Door, study: StudyLayout, registry: Registry, progress: Progress, trial: int) -> None:
        self._door = door
        self._layout = study
        self._registry = registry
        self._progress = progress
        self._trial = trial
        self._batch = Batch()

    def tell(self, news: Iterable[News]) -> None:
        """Send events in order, the reports together.

        Raises:
            LostError: the server lost what it had.
            TrackingError: not everything was sent.
        """
        for one in news:
            event = one.event
            if isinstance(event, TrialStarted):
                self._start(event, one.code)
            elif isinstance(event, EpochReported):
                study = self._progress.study
                first = None if study is None else study.spec.objective.metric
                self._batch.points.extend(content.report_points(event, first))
            elif isinstance(event, TrialFinished):
                self._finish(event)
            elif isinstance(event, PicturesDrawn):
                self._store_pictures(Path(event.path))
        if self._batch != Batch():
            self._flush(self._run())

    def _start(self, event: TrialStarted, code: tuple[str, ...]) -> None:
        record = event.record
        run, created = self._registry.open_trial(record, event.attempt, event.at_s, self._progress)
        self._batch.params.update(content.trial_params(record))
        if not created:
            self._batch.tags |= {"study.state": TrialState.RUNNING.value, "study.attempts": str(event.attempt)}
            self._batch.tags |= content.session_tags(self._progress.provenance, code, again=len(code) > 1)
            unless_refused(self._door.set_status, run.id, "RUNNING")
        self._store_origin(run, record)

    def _store_origin(self, run: Run, record: TrialRecord) -> None:
        """Give the run what the trial is run on and with."""
        study, origin = self._progress.study, self._progress.provenance
        if study is not None:
            unless_refused(self._door.log_dataset, run.id, study.data)
        unless_refused(store_text, self._door, run, content.trial_config(record), "config.json")
        if origin is not None and origin.diff and (changes := self._layout.code_diff(origin.diff)).is_file():
            unless_refused(store_diff, self._door, run, changes, changes.name)

    def _finish(self, event: TrialFinished) -> None:
        record = event.record
        run, created = self._registry.open_trial(record, record.attempts, event.at_s, self._progress)
        if created:
            self._store_origin(run, record)
        self._batch.params.update(content.trial_params(record))
        self._batch.points.extend(content.finish_points(event))
        self._batch.tags.update(content.finish_tags(record))
        if record.error:
            unless_refused(store_text, self._door, run, self._traceback(record), "error.txt")
        if record.checkpoint is not None:
            unless_refused(self._store_checkpoint, run, record)
        self._flush(run)
        # The status comes last: a run that is not RUNNING is complete.
        unless_refused(self._door.set_status, run.id, content.STATUS[record.state], content.time_ms(event.at_s))
        self._registry.release(record.trial)

    def _traceback(self, record: TrialRecord) -> str:
        """Return the traceback kept beside the trial's files, or at least its last line."""
        file = self._layout.trial_error(record.trial)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else record.error or ""

    def _store_checkpoint(self, run: Run, record: TrialRecord) -> None:
        assert record.checkpoint is not None
        # The weights of most trials are deleted in the end, and a link to them would keep them on the disk.
        store_folder(self._door, run, self._layout.near(record.trial, record.checkpoint), without=(WEIGHTS,))
        self._batch.tags["study.checkpoint"] = CHECKPOINT

    def _store_pictures(self, file: Path) -> None:
        run = self._run()
        self._registry.release(self._trial)
        if file.is_file():
            unless_refused(store_file, self._door, run, file, file.name)
        else:
            _log.warning("trial %d: %s is gone and was left out", self._trial, file)

    def _run(self) -> Run:
        return self._registry.trial(self._progress.study, self._trial)

    def _flush(self, run: Run) -> None:
        unless_refused(self._door.send, run.id, self._batch)
        self._batch = Batch()
