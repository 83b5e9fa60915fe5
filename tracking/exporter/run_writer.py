"""Export events to MLflow runs; exporting them twice changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from study.events import (
    EpochReported,
    Event,
    FinalLookTaken,
    PicturesDrawn,
    StudyEnded,
    StudyStarted,
    TrialFinished,
    TrialStarted,
)
from study.files import OutsideError
from study.paths import WEIGHTS, StudyLayout
from study.records import TrialRecord, TrialState
from study.utils.named_places import checkpoint_folder, is_in_named_place
from tracking.client.artifacts import CHECKPOINT, store_diff, store_file, store_folder, store_text
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import RefusedError, log_if_rejected
from tracking.content import tags_and_metrics as content
from tracking.content.tags_and_metrics import Batch, Point
from tracking.exporter.run_registry import RunRegistry
from tracking.exporter.study_run import StudyRunWriter
from tracking.models.logged_models import keep_models
from tracking.outbox.outbox import Line
from tracking.outbox.study_state import StudyProgress

_log = logging.getLogger("tracking")


TrialUpdate = tuple[Event, tuple[str, ...]]
"""An event of a trial, and the versions of the code that ran the trial until then."""


class TrialRunWriter:
    """Writes the run of one trial; those of several trials may be written by a thread each.

    Of ``progress`` only the study and its provenance are read, which do not change while a driver runs.
    """

    def __init__(
        self, client: TrackingClient, study: StudyLayout, registry: RunRegistry, progress: StudyProgress, trial: int
    ) -> None:
        self._client = client
        self._layout = study
        self._registry = registry
        self._progress = progress
        self._trial = trial
        self._batch = Batch()

    def write(self, updates: Iterable[TrialUpdate]) -> None:
        """Send events in order, the reports together.

        Raises:
            LostError: the server lost what it had.
            TrackingError: not everything was sent.
        """
        for event, code in updates:
            if isinstance(event, TrialStarted):
                self._start(event, code)
            elif isinstance(event, EpochReported):
                study = self._progress.study
                first = None if study is None else study.spec.objective.metric
                self._batch.points.extend(content.report_points(event, first))
            elif isinstance(event, TrialFinished):
                self._finish(event)
            elif isinstance(event, PicturesDrawn):
                _store_pictures(self._client, self._layout, self._run(), event)
                self._registry.release(self._trial)
        if self._batch != Batch():
            self._flush(self._run())

    def _start(self, event: TrialStarted, code: tuple[str, ...]) -> None:
        record = event.record
        run, created = self._registry.open_trial(record, event.attempt, event.at_s, self._progress)
        self._batch.params.update(content.trial_params(record))
        if not created:
            self._batch.tags |= {"study.state": TrialState.RUNNING.value, "study.attempts": str(event.attempt)}
            self._batch.tags |= content.session_tags(self._progress.provenance, code, again=len(code) > 1)
            log_if_rejected(self._client.set_status, run.id, "RUNNING")
        self._store_provenance(run, record)

    def _store_provenance(self, run: Run, record: TrialRecord) -> None:
        """Store the data, configuration and code of the trial with its run."""
        study, origin = self._progress.study, self._progress.provenance
        if study is not None:
            log_if_rejected(self._client.log_dataset, run.id, study.data)
        log_if_rejected(store_text, self._client, run, content.trial_config(record), "config.json")
        if origin is not None and origin.diff and (changes := self._layout.code_diff(origin.diff)).is_file():
            log_if_rejected(store_diff, self._client, run, changes)

    def _finish(self, event: TrialFinished) -> None:
        record = event.record
        run, created = self._registry.open_trial(record, record.attempts, event.at_s, self._progress)
        if created:
            self._store_provenance(run, record)
        self._batch.params.update(content.trial_params(record))
        self._batch.points.extend(content.finish_points(event))
        self._batch.tags.update(content.finish_tags(record))
        if record.error:
            log_if_rejected(store_text, self._client, run, self._traceback(record), "error.txt")
        if record.checkpoint is not None:
            log_if_rejected(self._store_checkpoint, run, record)
        self._flush(run)
        # The status comes last: a run that is not RUNNING is complete.
        log_if_rejected(self._client.set_status, run.id, content.STATUS[record.state], content.time_ms(event.at_s))
        self._registry.release(record.trial)

    def _traceback(self, record: TrialRecord) -> str:
        """Return the traceback kept beside the trial's files, or at least its last line."""
        file = self._layout.trial_error(record.trial)
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else record.error or ""

    def _store_checkpoint(self, run: Run, record: TrialRecord) -> None:
        assert record.checkpoint is not None
        try:
            folder = checkpoint_folder(self._layout, record.trial, record.checkpoint)
        except OutsideError as exc:
            raise RefusedError(f"{exc}; it is left out") from exc
        # The weights of most trials are deleted in the end, and a link to them would keep them on the disk.
        store_folder(self._client, run, folder, without=(WEIGHTS,))
        self._batch.tags["study.checkpoint"] = CHECKPOINT

    def _run(self) -> Run:
        return self._registry.trial(self._progress.study, self._trial)

    def _flush(self, run: Run) -> None:
        log_if_rejected(self._client.log_batch, run.id, self._batch)
        self._batch = Batch()


class RunExporter:
    """Exports events of one study to its MLflow runs; exporting an event twice changes nothing.

    ``location`` gives the place where a new experiment of a name keeps its artifacts.
    """

    def __init__(
        self,
        client: TrackingClient,
        study: StudyLayout,
        masked_uri: str,
        location: Callable[[str], str | None],
        progress: StudyProgress,
    ) -> None:
        self._client = client
        self._layout = study
        self._location = location
        self._progress = progress
        self._registry = RunRegistry(client, study.runs, masked_uri)
        self._parent_run = StudyRunWriter(client, study, self._registry)
        self._updates: dict[int, list[TrialUpdate]] = {}
        """By trial, in order, what was read and not exported yet."""
        self._points: list[Point] = []

    def is_known(self) -> bool:
        """Whether the server has the run of the study that was begun, if one was."""
        return self._progress.study is None or self._registry.find_parent(self._progress.study) is not None

    def export(self, lines: Sequence[Line]) -> None:
        """Send events, those of one trial in order and its reports together, several trials at a time.

        Raises:
            LostError: the server lost what it had; start again from the first line.
            TrackingError: not everything was sent; export the same lines again.
            OSError: the same, for want of a file or room on the disk here.
        """
        before, self._updates, self._points = self._progress, {}, []
        self._progress = before.copy()
        try:
            try:
                for line in lines:
                    self._export_line(line)
                self._flush_trials()
            finally:
                self._registry.save()
        except BaseException:
            self._progress = before
            raise

    def _export_line(self, line: Line) -> None:
        event = line.event
        trial = _trial_of(event)
        if trial is None:
            self._flush_trials()
        self._progress.update(line)
        if not self._has_start(line):
            return
        if trial is None:
            self._export_study_event(event)
            return
        self._updates.setdefault(trial, []).append((event, self._progress.code.get(trial, ())))
        if isinstance(event, TrialFinished):
            self._points.extend(content.progress_points(self._progress, event.at_s))

    def _has_start(self, line: Line) -> bool:
        """Whether the study and the trial of an event were started; a damaged or half-written outbox may lack that."""
        event, trial = line.event, None
        if isinstance(event, EpochReported | PicturesDrawn):
            trial = event.trial
        elif isinstance(event, FinalLookTaken):
            trial = event.look.trial
        has_start = self._progress.study is not None and (trial is None or trial in self._progress.started)
        if not has_start:
            owner = "the study" if self._progress.study is None else f"trial {trial}"
            _log.warning("line %d of the outbox is left out: the beginning of %s is not there", line.number, owner)
        return has_start

    def _flush_trials(self) -> None:
        """Export the collected updates of trials, then what they change in the study's run."""
        if not self._updates:
            return
        self._parent()  # before several threads need it
        updates, self._updates = self._updates, {}
        self._export_trials(updates)
        if self._points:
            batch = Batch(points=self._points, tags=self._parent_run.note_tag(self._progress))
            log_if_rejected(self._client.log_batch, self._parent().id, batch)
            self._points = []

    def _export_trials(self, updates: Mapping[int, Sequence[TrialUpdate]]) -> None:
        """Export trials at the same time; after an error or Ctrl-C no other is begun.

        Raises:
            Exception: the first error in the order of the trials.
        """
        pool = ThreadPoolExecutor(self._client.concurrency, thread_name_prefix="tracking-export")
        try:
            tasks = [pool.submit(self._export_trial, trial, updates[trial]) for trial in updates]
            wait(tasks, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(cancel_futures=True)
        for task in tasks:
            if not task.cancelled():
                task.result()

    def _export_trial(self, trial: int, updates: Sequence[TrialUpdate]) -> None:
        TrialRunWriter(self._client, self._layout, self._registry, self._progress, trial).write(updates)

    def _export_study_event(self, event: Event) -> None:
        if isinstance(event, StudyStarted):
            self._parent_run.begin(event, self._progress, self._location(event.study))
        elif isinstance(event, PicturesDrawn):
            _store_pictures(self._client, self._layout, self._parent(), event)
        elif isinstance(event, FinalLookTaken):
            self._export_test_evaluation(event)
        elif isinstance(event, StudyEnded):
            self._end_study(event)

    def _export_test_evaluation(self, event: FinalLookTaken) -> None:
        run = self._registry.trial(self._progress.study, event.look.trial)
        tags = {"study.test_looks": str(len(self._progress.looked))}
        log_if_rejected(
            self._client.log_batch, run.id, Batch(points=content.test_evaluation_points(event.look), tags=tags)
        )
        log_if_rejected(self._client.log_batch, self._parent().id, Batch(tags=tags))
        self._registry.release(event.look.trial)

    def _end_study(self, event: StudyEnded) -> None:
        self._parent_run.end(event, self._progress)
        # The weights come last: while they upload, and if that fails, the run of an ended study is not RUNNING.
        keep_models(self._client, self._layout, self._parent().experiment_id, event, self._finished_run)

    def _finished_run(self, trial: int) -> Run:
        run = self._registry.trial(self._progress.study, trial)
        self._registry.release(trial)
        return run

    def _parent(self) -> Run:
        return self._registry.parent(self._progress.study)


def _store_pictures(client: TrackingClient, layout: StudyLayout, run: Run, event: PicturesDrawn) -> None:
    file = Path(event.path)
    if not is_in_named_place(layout.results, event.path):  # the folder was moved, or is somebody else's
        file = layout.page(file.name) if event.trial is None else layout.trial_pictures(event.trial)
    if file.is_file():
        log_if_rejected(store_file, client, run, file)
    else:
        owner = "the study" if event.trial is None else f"trial {event.trial}"
        _log.warning("%s: %s is gone and was left out", owner, file)


def _trial_of(event: Event) -> int | None:
    """Return the trial whose run alone an event belongs to, None for an event of the study."""
    if isinstance(event, TrialStarted | TrialFinished):
        return event.record.trial
    return event.trial if isinstance(event, EpochReported | PicturesDrawn) else None
