"""Turn what workers say into what the ledger keeps and listeners hear; knows nothing of Ray."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from study.engine.report import Failure, TrialReport
from study.errors import EngineError
from study.events import EpochReported, Recorder, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.hyperparameters import TrialConfig
from study.layout import StudyLayout, write_text_atomic
from study.ledger import Assignment, Ledger
from study.ranking import rank
from study.records import StopReason, StudyOutcome, TrialRecord, TrialState
from study.training.progress import reason_to_end


class Conductor:
    """The one place where trials begin, advance and end, whatever runs them.

    Everything is written to the ledger before a listener hears of it, and a listener may hear twice of what a
    killed driver told it last, in the same words.

    Where a study has shifted image sets (``evaluates``), a pruned trial is handed out once more, for its selected
    checkpoint to be scored on them: to the worker that has it still in memory, as a rule.
    """

    def __init__(self, ledger: Ledger, layout: StudyLayout, recorder: Recorder, *, evaluates: bool = False) -> None:
        self._ledger = ledger
        self._layout = layout
        self._recorder = recorder
        self._evaluates = evaluates
        self._placed: set[int] = set()
        self._running: set[int] = set()
        self._to_evaluate: deque[int] = deque()
        self._evaluating: set[int] = set()
        self._judged: set[int] = set()  # pruned trials that a worker has, to evaluate them
        self._fault: BaseException | None = None
        self.interrupted = False

    def __getstate__(self) -> dict[str, object]:
        """Give nothing to pickle: Tune pickles all it is handed for a restore that this project never makes."""
        return {}

    def begin(self, started: StudyStarted) -> None:
        """Tell listeners that the study begins or goes on, and make up for what a killed driver left half done."""
        self._recorder.record(started)
        finished = [one for one in self._ledger.records() if one.state.is_finished]
        for record in finished:
            self._tidy(record.trial)
        self._recorder.catch_up(finished, time.time())
        for record in self._ledger.undecided():
            self._recorder.record(TrialStarted(record, record.attempts, time.time()))
            self._announce(record.trial, record.epochs_run)
            self._decide_after_resume(record)

    def next_assignment(self) -> Assignment | None:
        """Return the next trial to run; None when there is none or the run is to stop."""
        if self.interrupted:
            return None
        if self._to_evaluate:
            trial = self._to_evaluate.popleft()
            self._evaluating.add(trial)
            self._judged.add(trial)
            return self._ledger.assignment(trial)
        assignment = self._ledger.ask()
        if assignment is not None:
            self._running.add(assignment.trial)
            if assignment.pruned is not None:
                self._judged.add(assignment.trial)
        return assignment

    def may_ask_later(self) -> bool:
        """Whether there may be a next trial although there is none now: a running one may be pruned yet."""
        return self._evaluates and bool(self._running) and not self.interrupted

    def place(self, trial: int) -> None:
        """Note that a worker has the trial, for the first time or after another worker died with it."""
        if not self.is_running(trial):
            return
        if trial in self._evaluating:
            self._evaluating.discard(trial)  # the next time it is another worker
            return
        record = self._ledger.restarted(trial) if trial in self._placed else self._ledger.record(trial)
        self._placed.add(trial)
        self._recorder.record(TrialStarted(record, record.attempts, time.time()))

    def ingest(self, trial: int, report: TrialReport) -> bool:
        """Take a worker's message; return whether the worker must leave the trial.

        Raises:
            EngineError: the worker cannot write its files.
        """
        if not self.is_running(trial):  # a message that was under way when the trial ended
            return True
        if report.failure is not None:
            self._take_failure(trial, report.failure)
            return True
        for metrics in report.epochs:
            if self._ledger.report(trial, metrics, report.checkpoint):
                self._announce(trial, metrics.epoch)
        if report.ended is not None:
            self._ledger.note_evaluation(trial, report.evaluation)
            self._end(trial, *_ending(report.ended))
            return True
        return self._prune_if_weak(trial)

    def fail(self, trial: int, failure: Failure) -> None:
        """End a trial that cannot go on; its traceback is kept beside its files."""
        write_text_atomic(self._layout.trial_error(trial), failure.traceback)
        self._end(trial, TrialState.FAILED, StopReason.ERROR, error=failure.summary)

    def is_running(self, trial: int) -> bool:
        """Whether the trial was asked for and has not ended."""
        return trial in self._running

    def has_work(self) -> bool:
        """Whether some trial has not ended."""
        return _finished(self._ledger.records()) < self._ledger.planned

    def interrupt(self) -> bool:
        """Stop at the next occasion; return whether that was asked before."""
        before, self.interrupted = self.interrupted, True
        return before

    @contextmanager
    def guarding(self) -> Iterator[None]:
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

    def end(self, *, crashed: bool = False) -> StudyEnded:
        """Say how it all ended; returns the same event the listeners hear."""
        records = self._ledger.records()
        whole = _finished(records) >= self._ledger.planned
        outcome = StudyOutcome.FINISHED if whole else StudyOutcome.INTERRUPTED
        event = ended(self._ledger, StudyOutcome.FAILED if crashed else outcome)
        self._recorder.record(event)
        if event.outcome is StudyOutcome.FINISHED:
            self._ledger.note_end()
        return event

    def _announce(self, trial: int, epoch: int) -> None:
        record = self._ledger.record(trial)
        stored = next(one for one in self._ledger.epochs(trial) if one.metrics.epoch == epoch)
        assert record.value is not None
        assert record.epoch is not None
        self._recorder.record(
            EpochReported(record.study, trial, stored.metrics, record.value, record.epoch, stored.at_s)
        )

    def _prune_if_weak(self, trial: int) -> bool:
        """Ask the pruner; return whether the worker must leave the trial."""
        if trial in self._judged or not self._ledger.should_prune(trial):
            return False
        if self._evaluates:
            self._to_evaluate.append(trial)
        else:
            self._end(trial, *_ending(StopReason.PRUNED))
        return True

    def _decide_after_resume(self, record: TrialRecord) -> None:
        """Decide what a killed driver did not; a trial that must be evaluated yet is asked for again instead."""
        if self._evaluates:
            self._ledger.should_prune(record.trial)
            return
        config = TrialConfig.model_validate(record.config)
        reason = reason_to_end(config, record.history)
        if reason is None and self._ledger.should_prune(record.trial):
            reason = StopReason.PRUNED
        if reason is not None:
            self._end(record.trial, *_ending(reason))

    def _take_failure(self, trial: int, failure: Failure) -> None:
        if failure.disk:
            raise EngineError(
                f"trials must be able to write below {self._layout.root}, but trial {trial} could not: "
                f"{failure.summary}; make room and go on with `study resume`"
            )
        self.fail(trial, failure)

    def _end(self, trial: int, state: TrialState, reason: StopReason, *, error: str | None = None) -> None:
        record = self._ledger.tell(trial, state, reason, error=error)
        self._running.discard(trial)
        self._tidy(trial)
        assert record.finished_at_s is not None
        self._recorder.record(TrialFinished(record, record.finished_at_s))

    def _tidy(self, trial: int) -> None:
        """Delete what only a running trial needs, and what a killed worker left half written."""
        self._layout.last_checkpoint(trial).unlink(missing_ok=True)
        for part in self._layout.trial(trial).glob(".*.part"):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def ended(ledger: Ledger, outcome: StudyOutcome) -> StudyEnded:
    """Sum up a study as it stands."""
    records, objective = ledger.records(), ledger.spec.objective
    rows = rank(records, objective.metric, objective.mode)
    return StudyEnded(
        study=ledger.name,
        outcome=outcome,
        best=rows[0].record if rows and rows[0].rank else None,
        counts=dict(Counter(record.state.value for record in records)),
        at_s=time.time(),
    )


def _ending(reason: StopReason) -> tuple[TrialState, StopReason]:
    return (TrialState.PRUNED if reason is StopReason.PRUNED else TrialState.COMPLETE), reason


def _finished(records: list[TrialRecord]) -> int:
    return sum(record.state.is_finished for record in records)
