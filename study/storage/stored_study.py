"""What Optuna's storage holds of a study, and what is kept up to date from it: queue, pruner, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial

from study.config.study_config import StudySpec
from study.paths import StudyLayout
from study.records import TrialRecord, TrialState
from study.search.pruners import Pruner, build_pruner
from study.storage.journal import BatchedJournalStorage
from study.storage.study_attributes import ENDED_AT, EXHAUSTED, SESSIONS, SPEC, StudyAttributes
from study.storage.trial_creator import TrialCreator
from study.storage.trial_statistics import SessionTimes, TrialStatistics
from study.trials.listener import TrialListener, replay_trials
from study.trials.queue import TrialQueue
from study.trials.serialization import (
    DECIDED,
    StopDecision,
    StoredEpoch,
    is_settled,
    stop_of,
    stored_epoch,
    stored_epochs,
    to_record,
)


class StoredStudy(StudyAttributes):
    """A study as it is stored; what can be counted from that is kept up to date instead of being counted again.

    The storage's trial ids are the trials' numbers: a journal has one study.
    """

    def __init__(self, layout: StudyLayout, storage: BatchedJournalStorage) -> None:
        (study,) = storage.get_all_studies()
        self._layout = layout
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        spec = StudySpec.model_validate_json(self._attrs[SPEC])
        self.spec = spec.model_copy(update={"name": layout.name_of(study.study_name)})
        self._requeued: list[int] = []
        self._start_listening()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @property
    def planned(self) -> int:
        """How many trials there will be at most, as far as is known now."""
        return self._queue.planned

    @property
    def exhausted(self) -> bool:
        """Whether a search has, or turned out to have, fewer points to choose from than it might have run."""
        return self._queue.is_exhausted

    @property
    def is_finished(self) -> bool:
        """Whether the study's end was noted and nothing is left to do; a user's stop is no such end."""
        return self._has_ended(self.counts(), self.planned)

    def trials(self) -> list[FrozenTrial]:
        """Return every trial as Optuna has it; not to be changed."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def records(self) -> list[TrialRecord]:
        """Return every trial in the order asked."""
        return [self._to_record(trial) for trial in self.trials()]

    def record(self, number: int) -> TrialRecord:
        """Return one trial."""
        return self._to_record(self._trial(number))

    def epochs(self, number: int) -> list[StoredEpoch]:
        """Return what was reported of a trial, the oldest epoch first."""
        return stored_epochs(self._trial(number).user_attrs)

    def epoch(self, number: int, epoch: int) -> StoredEpoch:
        """Return what was reported of one epoch of a trial.

        Raises:
            KeyError: nothing was.
        """
        return stored_epoch(self._trial(number).user_attrs, epoch)

    def curve(self, number: int) -> Mapping[int, float]:
        """Return a trial's objective after each epoch that was reported, in any order."""
        values: Mapping[int, float] = self._trial(number).intermediate_values
        return values

    def stop_of(self, number: int) -> StopDecision | None:
        """Return the decision to stop a trial, None where it may go on."""
        return stop_of(self._trial(number))

    def undecided(self) -> list[TrialRecord]:
        """Return the interrupted trials whose last epoch was stored, but not what was decided after it."""
        trials = map(self._trial, self._requeued)
        return [
            self._to_record(trial)
            for trial in trials
            if trial.last_step is not None and trial.user_attrs.get(DECIDED) != trial.last_step
        ]

    def best_trials(self, count: int) -> tuple[int, ...]:
        """Return the finished trials with the best objective, best first, the earlier one of equals; no failed one."""
        return self._statistics.best(count)

    def counts(self) -> Mapping[TrialState, int]:
        """Return how many trials there are in each state."""
        return self._statistics.counts

    def driven_s(self, now_s: float) -> float:
        """Return the time in which some driver ran the study, over all sessions."""
        return self._sessions.driven_s(now_s)

    @cached_property
    def _pruner(self) -> Pruner:
        pruner = build_pruner(self.spec)
        replay_trials(self.trials(), pruner)
        return pruner

    def _start_listening(self) -> None:
        """Replay the trials to new listeners by the spec as it is now; pruner and sampler are made when needed."""
        self.__dict__.pop("_pruner", None)
        self._statistics = TrialStatistics(self.spec.objective.mode)
        self._queue = TrialQueue(self.spec)
        self._queue.has_no_more_points = bool(self._attrs.get(EXHAUSTED))
        self._sessions = SessionTimes(self._attrs.get(SESSIONS, ()), self.created_at_s)
        self._creator = TrialCreator(self, self._storage, self._study_id, self._queue, self.trials)
        for listener in self._listeners():
            replay_trials(self.trials(), listener)
        self._sessions.moment(self._attrs.get(ENDED_AT))

    def _listeners(self) -> list[TrialListener]:
        """Return who is called after each change; the queue first, because others read it."""
        listeners: list[TrialListener] = [self._queue, self._statistics, self._sessions]
        if "_pruner" in self.__dict__:
            listeners.append(self._pruner)
        if self._creator.has_searcher:
            listeners.append(self._creator.searcher.history)
        return listeners

    def _notify_settled(self, number: int) -> None:
        trial = self._trial(number)
        if is_settled(trial):
            for listener in self._listeners():
                listener.on_settle(trial)

    @property
    def _attrs(self) -> Mapping[str, Any]:
        attrs: Mapping[str, Any] = self._storage.get_study_user_attrs(self._study_id)
        return attrs

    def _to_record(self, trial: FrozenTrial) -> TrialRecord:
        return to_record(self._layout, self.name, trial, self.spec.objective, kept=self._is_kept(trial.number))

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(number)
