"""Turn what workers say into what the storage keeps and listeners hear; knows nothing of Ray."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from study.analysis.ranking import rank_trials
from study.config.hyperparameters import TrialConfig
from study.engine.budget import BudgetLimits, StopRequest, stop_requested
from study.engine.files.retention import Retention
from study.engine.files.trial_files import default_storage
from study.engine.messages import Failure, TrialReport, decode_report, decode_reports
from study.errors import EngineError
from study.events import Recorder, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.paths import StudyLayout, write_text_atomic
from study.records import StopReason, StudyOutcome, TrialRecord, TrialState
from study.storage.study_storage import StudyStorage
from study.training.progress import reason_to_end
from study.trials.serialization import Assignment

_WHOLE = (StopReason.FINISHED, StopReason.EARLY_STOPPED)


def summarize_study(storage: StudyStorage, outcome: StudyOutcome, reason: StopReason | None = None) -> StudyEnded:
    """Sum up a study as it stands."""
    rows = rank_trials(storage.records(), [storage.spec.objective])
    return StudyEnded(
        study=storage.name,
        outcome=outcome,
        best=rows[0].record if rows and rows[0].rank else None,
        counts={state.value: count for state, count in storage.counts().items() if count},
        at_s=time.time(),
        kept=tuple(row.record.trial for row in rows if row.rank and row.record.kept),
        reason=reason,
    )


def final_state(reason: StopReason) -> tuple[TrialState, StopReason]:
    """Return the state of a trial that ended without a fault: PRUNED is whatever was not allowed to go on."""
    return (TrialState.COMPLETE if reason in _WHOLE else TrialState.PRUNED), reason


def was_cut_short(storage: StudyStorage, reason: StopReason | None) -> bool:
    """Whether trials are left that never began, or some ended for this reason instead of their own."""
    begun = sum(storage.counts().values())
    return begun < storage.planned or any(one.stop_reason is reason for one in storage.records())


class ErrorCapture:
    """What stops a run: a fault of the driver's own side, or somebody who asked for it."""

    def __init__(self) -> None:
        self._fault: BaseException | None = None
        self.interrupted = False

    def interrupt(self) -> bool:
        """Stop at the next occasion; return whether that was asked before."""
        before, self.interrupted = self.interrupted, True
        return before

    @contextmanager
    def capture_errors(self) -> Iterator[None]:
        """Keep a fault of this side from whoever runs the trials, and stop the run; ``raise_fault`` has it."""
        try:
            yield
        except Exception as error:
            self._fault = self._fault or error
            self.interrupted = True

    def raise_fault(self) -> None:
        """Raise what ``guarding`` kept."""
        if self._fault is not None:
            raise self._fault


class TrialController(ErrorCapture):
    """The one place where trials begin, advance and end, whatever runs them.

    Everything is written to the storage before a listener hears of it, and a listener may hear twice of what a
    killed driver told it last, in the same words.

    A trial that is to stop, because it is weak or the study ends, stops after the epoch it reported last. Where a
    study has shifted image sets (``evaluates``) it is then handed out once more, for its selected checkpoint to be
    scored on them: to the worker that has it still in memory, as a rule. A trial that ran out of memory beside
    others is handed out once more, too, to run alone.
    """

    def __init__(
        self,
        storage: StudyStorage,
        layout: StudyLayout,
        recorder: Recorder,
        *,
        evaluates: bool = False,
        gpus_of: Callable[[Mapping[str, Any]], float] = lambda config: 0.0,
        retention: Retention | None = None,
    ) -> None:
        """Take charge of a study.

        Args:
            storage: the study's memory.
            layout: the study's paths.
            recorder: hears of everything.
            evaluates: whether there are shifted image sets.
            gpus_of: the GPUs of a trial with a configuration.
            retention: looks after the files of trials that ended; default: those in the study's own folder.
        """
        super().__init__()
        self._storage = storage
        self._layout = layout
        self._recorder = recorder
        self._evaluates = evaluates
        self._gpus_of = gpus_of
        self._limits = BudgetLimits(storage, gpus_of)
        self._retain = retention or Retention(storage, default_storage(layout), layout, storage.spec.keep.per_study)
        self._busy_s: dict[int, float] = {}  # what a worker said last of the time since it took its trial
        self._placed: set[int] = set()
        self._running: set[int] = set()
        self._again: deque[int] = deque()  # trials to hand out once more
        self._returns: Counter[int] = Counter()
        self._evaluating: set[int] = set()
        self._judged: set[int] = set()  # stopped trials that a worker has, to evaluate them
        self._left: set[int] = set()  # trials of an earlier run that no worker has yet
        self._reason: StopReason | None = None
        self._stopped = False  # whether some trial ended because the study does

    def __getstate__(self) -> dict[str, object]:
        """Give nothing to pickle: Tune pickles all it is handed for a restore that this project never makes."""
        return {}

    def begin(self, started: StudyStarted) -> None:
        """Tell listeners that the study begins or goes on, and make up for what a killed driver left half done."""
        self._recorder.record(started)
        records = self._storage.records()
        self._retain()
        self._recorder.catch_up(records, time.time(), partial(decode_reports, self._storage))
        self._left = {one.trial for one in records if not one.state.is_finished}
        for record in self._storage.undecided():
            self._recorder.record(TrialStarted(record, record.attempts, time.time()))
            self._decide_after_resume(record)
        self.poll()

    def next_assignment(self) -> Assignment | None:
        """Return the next trial to run; None when there is none or the run is to stop."""
        if self.interrupted:
            return None
        self.poll()
        if self.interrupted:
            return None
        if self._again:
            return self._hand_out_again(self._again.popleft())
        if self._reason is StopReason.USER or (self._reason is not None and not self._left):
            return None
        assignment = self._storage.ask()
        if assignment is not None:
            self._left.discard(assignment.trial)
            self._running.add(assignment.trial)
            if assignment.stop is not None:
                self._judged.add(assignment.trial)
        return assignment

    def _hand_out_again(self, trial: int) -> Assignment:
        if self._storage.stop_of(trial) is not None:
            self._evaluating.add(trial)
            self._judged.add(trial)
        return self._storage.assignment(trial)

    def may_ask_later(self) -> bool:
        """Whether there may be a next trial although there is none now: a running one may come back yet."""
        return bool(self._running) and not self.interrupted

    def requeue(self, trial: int, most: int) -> bool:
        """Take a trial back that did not reach its worker, to hand it out again, unless that was too often."""
        self._returns[trial] += 1
        if self._returns[trial] > most:
            return False
        self._again.append(trial)
        return True

    def place(self, trial: int) -> None:
        """Note that a worker has the trial, for the first time or after another worker died with it."""
        if not self.is_running(trial):
            return
        if trial in self._evaluating:
            self._evaluating.discard(trial)  # the next time it is another worker
            return
        record = self._storage.restarted(trial) if trial in self._placed else self._storage.record(trial)
        self._placed.add(trial)
        self._busy_s.pop(trial, None)
        self._recorder.record(TrialStarted(record, record.attempts, time.time()))

    def on_report(self, trial: int, report: TrialReport) -> bool:
        """Take a worker's message; return whether the worker must leave the trial.

        Raises:
            EngineError: the worker cannot write its files.
        """
        if not self.is_running(trial):  # a message that was under way when the trial ended
            return True
        before_s = self._busy_s.get(trial, 0.0)
        spent_s = report.busy_s - (before_s if before_s <= report.busy_s else 0.0)  # else it is another worker
        self._busy_s[trial] = report.busy_s
        self._limits.spend(trial, spent_s)
        if report.failure is not None:
            self._take_failure(trial, report.failure)
            return True
        for metrics in report.epochs:
            if self._storage.report(trial, metrics, report.checkpoint, spent_s):
                spent_s = 0.0
                self._limits.note(metrics.values)
                self._announce(trial, metrics.epoch)
        if report.ended is not None:
            self._storage.note_evaluation(trial, report.evaluation)
            stop = self._storage.stop_of(trial) if report.ended is StopReason.PRUNED else None
            self._end(trial, *final_state(stop.reason if stop else report.ended))
            return True
        caught_up = not report.epochs or report.epochs[-1].epoch >= max(self._storage.curve(trial), default=0)
        return trial not in self._judged and caught_up and self._is_to_leave(trial)

    def fail(self, trial: int, failure: Failure) -> None:
        """End a trial that cannot go on; its traceback is kept beside its files.

        One that was stopped and has its checkpoint has not failed: it goes without the scores it was kept for.
        """
        write_text_atomic(self._layout.trial_error(trial), failure.traceback)
        if self._storage.stop_of(trial) is not None and self._has_files(trial):
            self._end_stopped(trial)
        else:
            self._end(trial, TrialState.FAILED, StopReason.ERROR, error=failure.summary)

    def is_running(self, trial: int) -> bool:
        """Whether the trial was asked for and has not ended."""
        return trial in self._running

    def has_work(self) -> bool:
        """Whether some trial has not ended, or is still to begin."""
        counts = self._storage.counts()
        begun, done = sum(counts.values()), sum(count for state, count in counts.items() if state.is_finished)
        return done < begun or (self._reason is None and done < self._storage.planned)

    def poll(self) -> None:
        """Look whether the study is to end: somebody wished it, or a limit is met."""
        wish = stop_requested(self._layout)
        if wish is StopRequest.NOW:
            self.interrupted = True
        reason = self._reason or (StopReason.USER if wish is StopRequest.SOON else self._limits.reached())
        if reason is not None and self._reason is None:
            self._reason = reason
            if reason is not StopReason.USER:
                self._wind_up(reason)

    def end(self, *, crashed: bool = False) -> StudyEnded:
        """Say how it all ended; returns the same event the listeners hear."""
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
        return self._stopped or self.has_work()  # an earlier wish of the user's was another one

    def _announce(self, trial: int, epoch: int) -> None:
        self._recorder.record(decode_report(self._storage, trial, epoch))

    def _is_to_leave(self, trial: int) -> bool:
        """Decide whether a trial stops after the epoch it reported; see to what follows if so."""
        self.poll()
        if self._reason is not None:
            self._storage.stop(trial, self._reason)
        elif not self._storage.should_prune(trial):
            return False
        if self._evaluates:
            self._again.append(trial)
        else:
            self._end_stopped(trial)
        return True

    def _end_stopped(self, trial: int) -> None:
        stop = self._storage.stop_of(trial)
        assert stop is not None
        self._end(trial, *final_state(stop.reason))

    def _decide_after_resume(self, record: TrialRecord) -> None:
        """Decide what a killed driver did not; a trial that must be evaluated yet is asked for again instead."""
        reason = reason_to_end(TrialConfig.model_validate(record.config), record.history)
        if reason is not None:
            if not self._evaluates:
                self._end(record.trial, *final_state(reason))
            return
        limit = self._limits.reached()
        if limit is not None:
            self._storage.stop(record.trial, limit)
        if self._storage.should_prune(record.trial) and not self._evaluates and self._has_files(record.trial):
            self._end_stopped(record.trial)

    def _wind_up(self, reason: StopReason) -> None:
        """End the trials that no worker has; those with a checkpoint to score or to mend are handed out for that."""
        for trial in sorted(self._left):
            record = self._storage.record(trial)
            if record.history:
                self._storage.stop(trial, reason)
            if not record.history or (not self._evaluates and self._has_files(trial)):
                self._end(trial, *final_state(reason))

    def _has_files(self, trial: int) -> bool:
        epochs = self._storage.epochs(trial)
        return bool(epochs) and self._retain.holds(trial, epochs[-1].checkpoint)

    def _take_failure(self, trial: int, failure: Failure) -> None:
        if failure.disk:
            raise EngineError(
                f"trials must be able to write below {self._retain.root}, but trial {trial} could not: "
                f"{failure.summary}; make room and go on with `study resume`"
            )
        assignment = self._storage.assignment(trial)
        if failure.memory and not assignment.alone and 0 < self._gpus_of(assignment.config.model_dump()) < 1:
            self._storage.place_alone(trial)
            self._again.append(trial)
        elif failure.memory:
            self.fail(trial, replace(failure, summary=f"{failure.summary}; lower batch_size or data.image_size_px"))
        else:
            self.fail(trial, failure)

    def _end(self, trial: int, state: TrialState, reason: StopReason, *, error: str | None = None) -> None:
        self._storage.tell(trial, state, reason, error=error)
        self._stopped = self._stopped or reason is self._reason
        self._running.discard(trial)
        self._left.discard(trial)
        self._retain(trial)
        record = self._storage.record(trial)
        assert record.finished_at_s is not None
        self._recorder.record(TrialFinished(record, record.finished_at_s))
