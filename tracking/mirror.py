"""Mirror events into MLflow runs so that mirroring them twice changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import ParamSpec

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
from study.records import StudyOutcome, TrialRecord, TrialState
from tracking import content
from tracking.artifacts import CHECKPOINT, PICTURES, store_file, store_folder
from tracking.content import Batch
from tracking.door import Door, RefusedError, Run
from tracking.outbox import Line
from tracking.progress import Progress
from tracking.registry import Registry
from tracking.view import study_views

_log = logging.getLogger("tracking")
_Arguments = ParamSpec("_Arguments")
_ENDED = {
    StudyOutcome.FINISHED: "FINISHED",
    StudyOutcome.STOPPED: "KILLED",
    StudyOutcome.INTERRUPTED: "KILLED",
    StudyOutcome.FAILED: "FAILED",
}


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
        self._pending: dict[str, Batch] = {}

    def is_known(self) -> bool:
        """Whether the server has the run of the study that was begun, if one was."""
        return self._progress.study is None or self._registry.find_parent(self._progress.study) is not None

    def apply(self, lines: Sequence[Line]) -> None:
        """Send events in order, the reports of one trial together.

        Raises:
            LostError: the server lost what it had; start again from the first line.
            TrackingError: not everything was sent; apply the same lines again.
        """
        before, self._pending = self._progress, {}
        self._progress = before.copy()
        try:
            for line in lines:
                self._progress.take(line)
                self._dispatch(line)
            self._flush_all()
        except TrackingError:
            self._progress = before
            raise
        finally:
            self._registry.save()

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
        tags = content.study_tags(event, self._progress.provenance) | self._note()
        parent, created = self._registry.open_parent(event, self._location(event.study), tags)
        if not created:
            self._kill_running(event.at_s)
            self._try(self._door.set_status, parent.id, "RUNNING")
        # A resumed study may ask for more trials, but MLflow never changes a param: the first value stays, tags follow.
        params = {key: text for key, text in content.study_params(event).items() if key not in parent.params}
        self._try(self._door.send, parent.id, Batch(params=params, tags=tags))
        self._try(self._door.log_dataset, parent.id, event.data)
        self._try(self._door.tag_experiment, parent.experiment_id, study_views(event.spec))
        self._store_files(parent, event)

    def _store_files(self, parent: Run, event: StudyStarted) -> None:
        file = self._layout.study_file
        text = file.read_text(encoding="utf-8") if file.exists() else event.study_file
        self._try(self._door.log_text, parent.id, "study.yaml", text)
        if self._progress.provenance is not None:
            facts = {**asdict(self._progress.provenance), "device": event.device, "slots": event.slots}
            self._try(self._door.log_text, parent.id, "environment.json", json.dumps(facts, indent=1))

    def _start_trial(self, event: TrialStarted) -> None:
        run, created = self._registry.open_trial(event.record, event.attempt, event.at_s, self._progress)
        batch = self._batch(run)
        batch.params.update(content.trial_params(event.record))
        if created and self._progress.study is not None:
            self._try(self._door.log_dataset, run.id, self._progress.study.data)
        if not created:
            batch.tags |= {"study.state": TrialState.RUNNING.value, "study.attempts": str(event.attempt)}
            self._try(self._door.set_status, run.id, "RUNNING")

    def _report(self, event: EpochReported) -> None:
        run = self._registry.trial(self._progress.study, event.trial)
        self._batch(run).points.extend(content.report_points(event))

    def _finish_trial(self, event: TrialFinished) -> None:
        record = event.record
        run, _ = self._registry.open_trial(record, record.attempts, event.at_s, self._progress)
        batch = self._batch(run)
        batch.params.update(content.trial_params(record))
        batch.points.extend(content.finish_points(event))
        batch.tags.update(content.finish_tags(record))
        self._flush(run.id)
        if record.error:
            self._try(self._door.log_text, run.id, "error.txt", self._traceback(record))
        if record.checkpoint is not None:
            # The weights of most trials are deleted in the end, and a link to them would keep them on the disk.
            self._try(self._store_checkpoint, run, record, without=(WEIGHTS,))
        # The status comes last: a run that is not RUNNING is complete.
        self._try(self._door.set_status, run.id, content.STATUS[record.state], content.time_ms(event.at_s))
        self._registry.release(record.trial)
        self._batch(self._parent()).points.extend(content.progress_points(self._progress, event.at_s))

    def _traceback(self, record: TrialRecord) -> str:
        """Return the traceback kept beside the trial's files, or at least its last line."""
        file = self._layout.trial_error(record.trial)
        return file.read_text(encoding="utf-8") if file.exists() else record.error or ""

    def _store_checkpoint(self, run: Run, record: TrialRecord, without: tuple[str, ...] = ()) -> None:
        assert record.checkpoint is not None
        store_folder(self._door, run, self._layout.near(record.trial, record.checkpoint), without=without)
        self._door.send(run.id, Batch(tags={"study.checkpoint": CHECKPOINT}))

    def _store_pictures(self, event: PicturesDrawn) -> None:
        run, file = self._registry.trial(self._progress.study, event.trial), Path(event.path)
        if file.is_file():
            self._try(store_file, self._door, run, file, PICTURES)
        else:
            _log.warning("trial %d: %s is gone and was left out", event.trial, file)
        self._registry.release(event.trial)

    def _note_look(self, event: FinalLookTaken) -> None:
        run = self._registry.trial(self._progress.study, event.look.trial)
        tags = {"study.test_looks": str(len(self._progress.looked))}
        self._try(self._door.send, run.id, Batch(points=content.look_points(event.look), tags=tags))
        self._try(self._door.send, self._parent().id, Batch(tags=tags))
        self._registry.release(event.look.trial)

    def _end_study(self, event: StudyEnded) -> None:
        self._kill_running(event.at_s)
        parent = self._parent()
        if event.best is not None and event.best.checkpoint is not None:
            run = self._registry.trial(self._progress.study, event.best.trial)
            self._try(self._store_checkpoint, run, event.best)
            self._registry.release(event.best.trial)
        self._try(self._door.send, parent.id, Batch(tags=content.end_tags(event) | self._note()))
        self._try(self._door.set_status, parent.id, _ENDED[event.outcome], content.time_ms(event.at_s))

    def _kill_running(self, at_s: float) -> None:
        """Mark the trials an interruption left running; the next TrialStarted makes them run again."""
        self._flush_all()
        parent = self._parent()
        where = f"tags.`mlflow.parentRunId` = '{parent.id}' and attributes.status = 'RUNNING'"
        for run in list(self._door.search([parent.experiment_id], where)):
            self._try(self._door.send, run.id, Batch(tags={"study.state": content.INTERRUPTED}))
            self._try(self._door.set_status, run.id, "KILLED", content.time_ms(at_s))

    def _parent(self) -> Run:
        return self._registry.parent(self._progress.study)

    def _note(self) -> dict[str, str]:
        return {"mlflow.note.content": content.description(self._progress)}

    def _batch(self, run: Run) -> Batch:
        return self._pending.setdefault(run.id, Batch())

    def _flush(self, run_id: str) -> None:
        if (batch := self._pending.get(run_id)) is not None:
            self._try(self._door.send, run_id, batch)
            del self._pending[run_id]

    def _flush_all(self) -> None:
        for run_id in list(self._pending):
            self._flush(run_id)

    def _try(self, call: Callable[_Arguments, None], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        """Call the server; what it refuses for ever is said in the log and the rest goes on."""
        try:
            call(*args, **kwargs)
        except RefusedError as exc:
            _log.error("%s", exc)
