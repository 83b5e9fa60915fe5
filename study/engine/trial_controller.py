"""Decide what happens to trials: hand them out, store what they report, stop and end them; independent of Ray."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from study.config.hyperparameters import TrialConfig
from study.engine.budget import BudgetLimits
from study.engine.files.checkpoint_retention import CheckpointRetention
from study.engine.files.trial_files import default_trial_files
from study.engine.stopping import ErrorCapture, StopRequest, stop_requested
from study.engine.stored_events import epoch_event, epoch_events, summarize_study, was_cut_short
from study.engine.trial_result import Failure, TrialResult
from study.errors import EngineError
from study.events import Recorder, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.files import write_text_atomic
from study.paths import StudyLayout
from study.records import StopReason, StudyOutcome, TrialRecord, TrialState
from study.storage.study_storage import StudyStorage
from study.training.progress import find_stop_reason
from study.trials.serialization import Assignment

_WHOLE = (StopReason.FINISHED, StopReason.EARLY_STOPPED)


def final_state(reason: StopReason) -> TrialState:
    """Return the state of a trial that ended without an error: PRUNED unless it ended by its own rules."""
    return TrialState.COMPLETE if reason in _WHOLE else TrialState.PRUNED


class TrialController(ErrorCapture):
    """Starts, advances and ends trials, whatever runs them.

    Everything is stored before the recorder receives it. After a crash the recorder may receive the last events
    again, unchanged.

    A trial that is to stop, because it is weak or the study ends, stops after the epoch it reported last. If the
    study has shifted image sets (``evaluates``), the trial is then handed out once more, so that its selected
    checkpoint is scored on them; usually the worker that has it in memory takes it. A trial that ran out of memory
    beside others is also handed out once more, to run alone.
    """

    def __init__(
        self,
        storage: StudyStorage,
        layout: StudyLayout,
        recorder: Recorder,
        *,
        evaluates: bool = False,
        gpus_of: Callable[[Mapping[str, Any]], float] = lambda config: 0.0,
        retention: CheckpointRetention | None = None,
    ) -> None:
        """Initialize the controller of one run.

        Args:
            storage: the study's durable state.
            layout: the study's paths.
            recorder: receives every event.
            evaluates: whether there are shifted image sets.
            gpus_of: returns the GPUs of a trial with a configuration.
            retention: deletes checkpoints; by default those in the study's own folder.
        """
        super().__init__()
        self._storage = storage
        self._layout = layout
        self._recorder = recorder
        self._evaluates = evaluates
        self._gpus_of = gpus_of
        self._limits = BudgetLimits(storage, gpus_of)
        self._retention = retention or CheckpointRetention(
            storage, default_trial_files(layout), layout, storage.spec.keep.per_study
        )
        self._retries: deque[int] = deque()  # trials to hand out before any new one
        self._losses: Counter[int] = Counter()  # how often each did not reach its worker
        self._busy_s: dict[int, float] = {}  # last reported time since the worker took the trial
        self._started: set[int] = set()
        self._running: set[int] = set()
        self._to_evaluate: set[int] = set()  # stopped trials that no worker has taken yet
        self._stopped: set[int] = set()  # stopped trials that a worker has, to evaluate them
        self._unfinished: set[int] = set()  # trials of an earlier run that no worker has yet
        self._reason: StopReason | None = None  # why the study ends before all its trials did
        self._cut_trials = False  # whether a trial ended because the study does

    def __getstate__(self) -> dict[str, object]:
        """Pickle nothing: Tune pickles its searcher and callbacks for a restore that is never made."""
        return {}

    def start_session(self, event: StudyStarted) -> None:
        """Record that the study starts or resumes, and finish what a killed driver left half done."""
        self._recorder.record(event)
        records = self._storage.records()
        self._retention.sweep()
        self._recorder.catch_up(records, time.time(), partial(epoch_events, self._storage))
        self._unfinished = {record.trial for record in records if not record.state.is_finished}
        for record in self._storage.undecided():
            self._recorder.record(TrialStarted(record, record.attempts, time.time()))
            self._decide_after_resume(record)
        self.poll()

    def next_assignment(self) -> Assignment | None:
        """Return the next trial to run; None when there is none or the run is to stop."""
        if not self.interrupted:
            self.poll()
        if self.interrupted:
            return None
        if self._retries:
            return self._retry_assignment(self._retries.popleft())
        if self._reason is StopReason.USER or (self._reason is not None and not self._unfinished):
            return None
        assignment = self._storage.ask()
        if assignment is not None:
            self._unfinished.discard(assignment.trial)
            self._running.add(assignment.trial)
            if assignment.stop is not None:
                self._stopped.add(assignment.trial)
        return assignment

    def _retry_assignment(self, trial: int) -> Assignment:
        if self._storage.stop_of(trial) is not None:
            self._to_evaluate.add(trial)
            self._stopped.add(trial)
        return self._storage.assignment(trial)

    def may_have_more(self) -> bool:
        """Return whether a trial may come later although there is none now: a running one may be retried."""
        return bool(self._running) and not self.interrupted

    def retry(self, trial: int, max_retries: int) -> bool:
        """Hand out a trial again that did not reach its worker; return False if that happened too often."""
        self._losses[trial] += 1
        if self._losses[trial] > max_retries:
            return False
        self._retries.append(trial)
        return True

    def on_trial_started(self, trial: int) -> None:
        """Record that a worker has the trial, for the first time or after another worker died."""
        if not self.is_running(trial):
            return
        if trial in self._to_evaluate:
            self._to_evaluate.discard(trial)  # the next time it is another worker
            return
        record = self._storage.restarted(trial) if trial in self._started else self._storage.record(trial)
        self._started.add(trial)
        self._busy_s.pop(trial, None)
        self._recorder.record(TrialStarted(record, record.attempts, time.time()))

    def on_trial_result(self, trial: int, result: TrialResult) -> bool:
        """Store a worker's result; return whether the worker must leave the trial.

        Raises:
            EngineError: the worker cannot write its files.
        """
        if not self.is_running(trial):  # sent before the trial ended
            return True
        before_s = self._busy_s.get(trial, 0.0)
        spent_s = result.busy_s - (before_s if before_s <= result.busy_s else 0.0)  # else it is another worker
        self._busy_s[trial] = result.busy_s
        self._limits.add_busy_time(trial, spent_s)
        if result.failure is not None:
            self._handle_failure(trial, result.failure)
            return True
        for metrics in result.epochs:
            if self._storage.report(trial, metrics, result.checkpoint, spent_s):
                spent_s = 0.0
                self._limits.add_epoch(metrics.values)
                self._recorder.record(epoch_event(self._storage, trial, metrics.epoch))
        if result.ended is not None:
            self._storage.note_evaluation(trial, result.evaluation)
            stop = self._storage.stop_of(trial) if result.ended is StopReason.PRUNED else None
            self._end_trial(trial, stop.reason if stop else result.ended)
            return True
        caught_up = not result.epochs or result.epochs[-1].epoch >= max(self._storage.curve(trial), default=0)
        return trial not in self._stopped and caught_up and self._stop_if_due(trial)

    def on_trial_failed(self, trial: int, failure: Failure) -> None:
        """End a trial that cannot go on, and write its traceback beside its files.

        A stopped trial whose checkpoint is there has not failed: it ends without the scores it was kept for.
        """
        write_text_atomic(self._layout.trial_error(trial), failure.traceback)
        if self._storage.stop_of(trial) is not None and self._has_checkpoint(trial):
            self._end_stopped(trial)
        else:
            self._end_trial(trial, StopReason.ERROR, error=failure.summary)

    def is_running(self, trial: int) -> bool:
        """Return whether the trial was handed out and has not ended."""
        return trial in self._running

    def has_work(self) -> bool:
        """Return whether some trial has not ended, or is still to begin."""
        counts = self._storage.counts()
        begun, done = sum(counts.values()), sum(count for state, count in counts.items() if state.is_finished)
        return done < begun or (self._reason is None and done < self._storage.planned)

    def poll(self) -> None:
        """Check whether the study is to end: the user asked for it, or a limit is reached."""
        request = stop_requested(self._layout)
        if request is StopRequest.NOW:
            self.interrupted = True
        reason = self._reason or (StopReason.USER if request is StopRequest.SOON else self._limits.reached())
        if reason is not None and self._reason is None:
            self._reason = reason
            if reason is not StopReason.USER:
                self._end_unfinished(reason)

    def end_session(self, *, crashed: bool = False) -> StudyEnded:
        """Record and return how the run ended."""
        cut_short = self._is_cut_short()
        outcome = StudyOutcome.INTERRUPTED if self.has_work() else StudyOutcome.FINISHED
        if crashed:
            outcome = StudyOutcome.FAILED
        elif self._reason is StopReason.USER and cut_short and not (self.interrupted and self.has_work()):
            outcome = StudyOutcome.STOPPED
        event = summarize_study(self._storage, outcome, self._reason if cut_short else None)
        self._recorder.record(event)
        if event.outcome is StudyOutcome.FINISHED:
            self._storage.note_end(event.reason)
        return event

    def _is_cut_short(self) -> bool:
        if sum(self._storage.counts().values()) < self._storage.planned or self._reason is not StopReason.USER:
            return was_cut_short(self._storage, self._reason)
        return self._cut_trials or self.has_work()  # the user's request of an earlier run does not count

    def _stop_if_due(self, trial: int) -> bool:
        """Stop a trial after the epoch it reported if the study ends or the pruner says so; return whether."""
        self.poll()
        if self._reason is not None:
            self._storage.stop(trial, self._reason)
        elif not self._storage.should_prune(trial):
            return False
        if self._evaluates:
            self._retries.append(trial)
        else:
            self._end_stopped(trial)
        return True

    def _end_stopped(self, trial: int) -> None:
        stop = self._storage.stop_of(trial)
        assert stop is not None
        self._end_trial(trial, stop.reason)

    def _decide_after_resume(self, record: TrialRecord) -> None:
        """Decide what a killed driver did not; a trial that is still to be evaluated is handed out again instead."""
        reason = find_stop_reason(TrialConfig.model_validate(record.config), record.history)
        if reason is not None:
            if not self._evaluates:
                self._end_trial(record.trial, reason)
            return
        limit = self._limits.reached()
        if limit is not None:
            self._storage.stop(record.trial, limit)
        if self._storage.should_prune(record.trial) and not self._evaluates and self._has_checkpoint(record.trial):
            self._end_stopped(record.trial)

    def _end_unfinished(self, reason: StopReason) -> None:
        """End the trials that no worker has; those whose checkpoint must be scored or restored are handed out."""
        for trial in sorted(self._unfinished):
            record = self._storage.record(trial)
            if record.history:
                self._storage.stop(trial, reason)
            if not record.history or (not self._evaluates and self._has_checkpoint(trial)):
                self._end_trial(trial, reason)

    def _has_checkpoint(self, trial: int) -> bool:
        epochs = self._storage.epochs(trial)
        return bool(epochs) and self._retention.has_checkpoint(trial, epochs[-1].checkpoint)

    def _handle_failure(self, trial: int, failure: Failure) -> None:
        if failure.disk:
            raise EngineError(
                f"trials must be able to write below {self._retention.root}, but trial {trial} could not: "
                f"{failure.summary}; make room and go on with `{self._layout.command('resume')}`"
            )
        assignment = self._storage.assignment(trial)
        if failure.memory and not assignment.alone and 0 < self._gpus_of(assignment.config.model_dump()) < 1:
            self._storage.place_alone(trial)
            self._retries.append(trial)
        elif failure.memory:
            hint = "lower batch_size or data.image_size_px"
            self.on_trial_failed(trial, replace(failure, summary=f"{failure.summary}; {hint}"))
        else:
            self.on_trial_failed(trial, failure)

    def _end_trial(self, trial: int, reason: StopReason, *, error: str | None = None) -> None:
        state = TrialState.FAILED if reason is StopReason.ERROR else final_state(reason)
        self._storage.tell(trial, state, reason, error=error)
        self._cut_trials = self._cut_trials or reason is self._reason
        self._running.discard(trial)
        self._unfinished.discard(trial)
        self._retention.on_trial_end(trial)
        record = self._storage.record(trial)
        assert record.finished_at_s is not None
        self._recorder.record(TrialFinished(record, record.finished_at_s))
