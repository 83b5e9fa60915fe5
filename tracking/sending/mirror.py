"""Mirror events into MLflow runs so that mirroring them twice changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from study.errors import TrackingError
from study.events import (
    EpochReported,
    FinalLookTaken,
    PicturesDrawn,
    StudyEnded,
    StudyStarted,
    TrialFinished,
    TrialStarted,
)
from study.layout import WEIGHTS, StudyLayout
from study.records import TrialRecord, TrialState
from tracking.models.kept import keep_models
from tracking.record.outbox import Line
from tracking.record.progress import Progress
from tracking.sending.parent_run import ParentRun
from tracking.sending.registry import Registry
from tracking.sending.side_by_side import call_each
from tracking.server.artifacts import CHECKPOINT, store_diff, store_file, store_folder, store_text
from tracking.server.door import Door, Run
from tracking.server.refusals import unless_refused
from tracking.telling import content
from tracking.telling.content import Batch

_log = logging.getLogger("tracking")


class Mirror:
    """Mirrors one study; ``location`` says where a new experiment of a name keeps its artifacts."""

    def __init__(
        self,
        door: Door,
        study: StudyLayout,
        masked_uri: str,
        location: Callable[[str], str | None],
        progress: Progress,
    ) -> None:
        self._door = door
        self._layout = study
        self._location = location
        self._progress = progress
        self._registry = Registry(door, study.runs, masked_uri)
        self._parent_run = ParentRun(door, study, self._registry)
        self._pending: dict[str, Batch] = {}
        self._is_outdated = False
        self._at_once = 1

    def is_known(self) -> bool:
        """Whether the server has the run of the study that was begun, if one was."""
        return self._progress.study is None or self._registry.find_parent(self._progress.study) is not None

    def apply(self, lines: Sequence[Line], at_once: int = 1) -> None:
        """Send events in order, the reports of one trial together.

        Args:
            lines: The events.
            at_once: To how many runs is sent at the same time.

        Raises:
            LostError: the server lost what it had; start again from the first line.
            TrackingError: not everything was sent; apply the same lines again.
        """
        before, self._pending, self._is_outdated, self._at_once = self._progress, {}, False, at_once
        self._progress = before.copy()
        try:
            for line in lines:
                self._progress.take(line)
                if self._can_be_told(line):
                    self._dispatch(line)
            if self._is_outdated:
                self._batch(self._parent()).tags.update(self._parent_run.note(self._progress))
            self._flush_all()
        except TrackingError:
            self._progress = before
            raise
        finally:
            self._registry.save()

    def _can_be_told(self, line: Line) -> bool:
        """Whether the events before this one tell whose it is; a damaged or half-written outbox may lack them."""
        event, trial = line.event, None
        if isinstance(event, EpochReported | PicturesDrawn):
            trial = event.trial
        elif isinstance(event, FinalLookTaken):
            trial = event.look.trial
        is_begun = self._progress.study is not None and (trial is None or trial in self._progress.started)
        if not is_begun:
            whose = "the study" if self._progress.study is None else f"trial {trial}"
            _log.warning("line %d of the outbox is left out: the beginning of %s is not there", line.number, whose)
        return is_begun

    def _dispatch(self, line: Line) -> None:
        event = line.event
        if isinstance(event, StudyStarted):
            self._start_study(event)
        elif isinstance(event, TrialStarted):
            self._start_trial(event)
        elif isinstance(event, EpochReported):
            self._report(event)
        elif isinstance(event, TrialFinished):
            self._finish_trial(event)
        elif isinstance(event, PicturesDrawn):
            self._store_pictures(event)
        elif isinstance(event, FinalLookTaken):
            self._note_look(event)
        elif isinstance(event, StudyEnded):
            self._end_study(event)

    def _start_study(self, event: StudyStarted) -> None:
        self._flush_all()
        self._parent_run.begin(event, self._progress, self._location(event.study))
        self._is_outdated = False

    def _start_trial(self, event: TrialStarted) -> None:
        record = event.record
        run, created = self._registry.open_trial(record, event.attempt, event.at_s, self._progress)
        batch = self._batch(run)
        batch.params.update(content.trial_params(record))
        if not created:
            batch.tags |= {"study.state": TrialState.RUNNING.value, "study.attempts": str(event.attempt)}
            code = self._progress.code.get(record.trial, ())
            batch.tags |= content.session_tags(self._progress.provenance, code, again=len(code) > 1)
            unless_refused(self._door.set_status, run.id, "RUNNING")
        self._store_origin(run, record)

    def _store_origin(self, run: Run, record: TrialRecord) -> None:
        """Give a trial's run what it is run on and with."""
        study, origin = self._progress.study, self._progress.provenance
        if study is not None:
            unless_refused(self._door.log_dataset, run.id, study.data)
        unless_refused(store_text, self._door, run, content.trial_config(record), "config.json")
        if origin is not None and origin.diff and (changes := self._layout.code_diff(origin.diff)).is_file():
            unless_refused(store_diff, self._door, run, changes, changes.name)

    def _report(self, event: EpochReported) -> None:
        study = self._progress.study
        first = None if study is None else study.spec.objective.metric
        self._batch(self._registry.trial(study, event.trial)).points.extend(content.report_points(event, first))

    def _finish_trial(self, event: TrialFinished) -> None:
        record = event.record
        run, created = self._registry.open_trial(record, record.attempts, event.at_s, self._progress)
        if created:
            self._store_origin(run, record)
        batch = self._batch(run)
        batch.params.update(content.trial_params(record))
        batch.points.extend(content.finish_points(event))
        batch.tags.update(content.finish_tags(record))
        if record.error:
            unless_refused(store_text, self._door, run, self._traceback(record), "error.txt")
        if record.checkpoint is not None:
            unless_refused(self._store_checkpoint, run, record)
        self._flush(run.id)
        # The status comes last: a run that is not RUNNING is complete.
        unless_refused(self._door.set_status, run.id, content.STATUS[record.state], content.time_ms(event.at_s))
        self._registry.release(record.trial)
        self._batch(self._parent()).points.extend(content.progress_points(self._progress, event.at_s))
        self._is_outdated = True

    def _traceback(self, record: TrialRecord) -> str:
        """Return the traceback kept beside the trial's files, or at least its last line."""
        file = self._layout.trial_error(record.trial)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else record.error or ""

    def _store_checkpoint(self, run: Run, record: TrialRecord) -> None:
        assert record.checkpoint is not None
        # The weights of most trials are deleted in the end, and a link to them would keep them on the disk.
        store_folder(self._door, run, self._layout.near(record.trial, record.checkpoint), without=(WEIGHTS,))
        self._batch(run).tags["study.checkpoint"] = CHECKPOINT

    def _store_pictures(self, event: PicturesDrawn) -> None:
        file = Path(event.path)
        if event.trial is None:
            run = self._parent()
        else:
            run = self._registry.trial(self._progress.study, event.trial)
            self._registry.release(event.trial)
        if file.is_file():
            unless_refused(store_file, self._door, run, file, file.name)
        else:
            whose = "the study" if event.trial is None else f"trial {event.trial}"
            _log.warning("%s: %s is gone and was left out", whose, file)

    def _note_look(self, event: FinalLookTaken) -> None:
        run = self._registry.trial(self._progress.study, event.look.trial)
        tags = {"study.test_looks": str(len(self._progress.looked))}
        unless_refused(self._door.send, run.id, Batch(points=content.look_points(event.look), tags=tags))
        unless_refused(self._door.send, self._parent().id, Batch(tags=tags))
        self._registry.release(event.look.trial)

    def _end_study(self, event: StudyEnded) -> None:
        self._flush_all()
        self._parent_run.end(event, self._progress)
        self._is_outdated = False
        # The weights come last: whatever an upload takes or fails with, the run of an ended study is not RUNNING.
        keep_models(self._door, self._layout, self._parent().experiment_id, event, self._trial_at_rest)

    def _trial_at_rest(self, trial: int) -> Run:
        run = self._registry.trial(self._progress.study, trial)
        self._registry.release(trial)
        return run

    def _parent(self) -> Run:
        return self._registry.parent(self._progress.study)

    def _batch(self, run: Run) -> Batch:
        return self._pending.setdefault(run.id, Batch())

    def _flush(self, run_id: str) -> None:
        if (batch := self._pending.get(run_id)) is not None:
            unless_refused(self._door.send, run_id, batch)
            del self._pending[run_id]

    def _flush_all(self) -> None:
        call_each(self._flush, list(self._pending), self._at_once)
