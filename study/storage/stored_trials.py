"""Know every trial of a study and what follows from all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from optuna.trial import FrozenTrial

from study.records import TrialRecord, TrialState
from study.search.pruners import Pruner, build_pruner
from study.storage.journal import BatchedJournalStorage
from study.storage.stored_study import StoredStudy
from study.storage.study_attributes import ENDED_AT, EXHAUSTED, SESSIONS
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


class StoredTrials(StoredStudy):
    """What is stored of the trials, and what is kept up to date from it instead of being counted again.

    The storage's trial ids are the trials' numbers: a journal has one study.
    """

    def __init__(self, storage: BatchedJournalStorage) -> None:
        super().__init__(storage)
        self._interrupted = [one.number for one in self.trials() if not one.state.is_finished()]
        self._follow()

    @property
    def planned(self) -> int:
        """How many trials there will be at most, as far as is known now."""
        return self._roster.planned

    @property
    def exhausted(self) -> bool:
        """Whether a search has, or turned out to have, fewer points to choose from than it might have run."""
        return self._roster.is_exhausted

    @property
    def is_finished(self) -> bool:
        """Whether everybody heard of an end after which nothing is left to do: a user's stop is no such end."""
        return self._has_ended(self.counts(), self.planned)

    def records(self) -> list[TrialRecord]:
        """Return every trial in the order asked."""
        return [self._to_record(one) for one in self.trials()]

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
        """Return what was decided of a trial, None where it may go on."""
        return stop_of(self._trial(number))

    def undecided(self) -> list[TrialRecord]:
        """Return the interrupted trials of which an epoch was stored and then neither kept nor told."""
        found = map(self._trial, self._interrupted)
        return [
            self._to_record(one)
            for one in found
            if one.last_step is not None and one.user_attrs.get(DECIDED) != one.last_step
        ]

    def best_trials(self, count: int) -> tuple[int, ...]:
        """Return the finished trials with the best objective, best first, the earlier one of equals; no failed one."""
        return self._tally.best(count)

    def counts(self) -> Mapping[TrialState, int]:
        """Return how many trials there are in each state."""
        return self._tally.counts

    def driven_s(self, now_s: float) -> float:
        """Return the time in which some driver ran the study, over all sessions."""
        return self._sessions.driven_s(now_s)

    @cached_property
    def _pruner(self) -> Pruner:
        found = build_pruner(self.spec)
        replay_trials(self.trials(), found)
        return found

    def _follow(self) -> None:
        """Begin to follow the trials by the spec as it is now; pruner and sampler are made when they are needed."""
        self.__dict__.pop("_pruner", None)
        self._tally = TrialStatistics(self.spec.objective.mode)
        self._roster = TrialQueue(self.spec)
        self._roster.found_no_more = bool(self._attrs.get(EXHAUSTED))
        self._sessions = SessionTimes(self._attrs.get(SESSIONS, ()), self.created_at_s)
        self._asker = TrialCreator(self.spec, self._storage, self._study_id, self._roster, self, self.trials)
        for one in self._followers():
            replay_trials(self.trials(), one)
        self._sessions.moment(self._attrs.get(ENDED_AT))

    def _followers(self) -> list[TrialListener]:
        """Return whoever must hear of a change; the roster first, which others ask."""
        found: list[TrialListener] = [self._roster, self._tally, self._sessions]
        if "_pruner" in self.__dict__:
            found.append(self._pruner)
        if self._asker.has_searcher:
            found.append(self._asker.searcher.history)
        return found

    def _spread_settled(self, number: int) -> None:
        trial = self._trial(number)
        if is_settled(trial):
            for one in self._followers():
                one.settled(trial)

    def _to_record(self, trial: FrozenTrial) -> TrialRecord:
        return to_record(self.name, trial, self.spec.objective, kept=self._is_kept(trial.number))

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(number)

    def trials(self) -> list[FrozenTrial]:
        """Return every trial as Optuna has it; not to be changed."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)
