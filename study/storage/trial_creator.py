"""Creates the next trial, by a sampler or from a listed design, and stores it whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from study.search.space import SHORTER_LIST, trial_config
from study.search.suggest import Searcher, Suggestion, suggestion_from
from study.storage.journal import BatchedJournalStorage
from study.storage.study_attributes import EXHAUSTED, StudyAttributes
from study.trials.listener import replay_trials
from study.trials.queue import TrialQueue
from study.trials.serialization import ASKED, ATTEMPTS


class TrialCreator:
    """Creates the next trial of a search or of a listed design.

    A point is drawn before its trial exists, and then written with all its values in one line: if the driver is killed
    before that, the next driver draws the same.
    """

    def __init__(
        self,
        study: StudyAttributes,
        storage: BatchedJournalStorage,
        study_id: int,
        queue: TrialQueue,
        trials: Callable[[], list[FrozenTrial]],
    ) -> None:
        self._study = study
        self._spec = study.spec
        self._storage = storage
        self._study_id = study_id
        self._queue = queue
        self._trials = trials

    @property
    def is_listed(self) -> bool:
        """Whether the design lists its points."""
        return self._spec.design.kind != "search"

    @property
    def has_searcher(self) -> bool:
        """Whether the sampler was made yet."""
        return "searcher" in self.__dict__

    @cached_property
    def searcher(self) -> Searcher:
        """The sampler with the points it is shown."""
        searcher = Searcher(
            self._spec,
            self._study.warm_start,
            self._queue,
            self._storage.get_trial,
            lambda: self._storage.get_study_system_attrs(self._study_id),
        )
        replay_trials(self._trials(), searcher.history)
        return searcher

    def next(self, number: int) -> bool:
        """Store the next trial, with this number; return whether there is one."""
        choice = self._next_listed() if self.is_listed else self._next_searched(number)
        if choice is None:
            return False
        self._store(*choice)
        return True

    def complete(self, trial: FrozenTrial) -> None:
        """Complete the values of a trial that an earlier version was killed while creating."""
        number = trial.number
        given = {name.partition(SHORTER_LIST)[0]: value for name, value in trial.params.items()}
        if self.is_listed:
            suggestion: Suggestion | None = suggestion_from(self._spec, self._queue.listed(number))
        else:
            suggestion = self.searcher.draw(number, number, given)
        assert suggestion is not None
        for name, asked in suggestion.distributions.items():
            if name not in trial.params:
                value = asked.to_internal_repr(suggestion.params[name])
                self._storage.set_trial_param(number, name, value, asked)
        self._storage.set_trial_user_attr(number, ASKED, self._asked(suggestion, number, 0))

    def _next_listed(self) -> tuple[Suggestion, int, int] | None:
        choice = self._queue.next_listed()
        if choice is None:
            return None
        point, replicate, values = choice
        return suggestion_from(self._spec, values), point, replicate

    def _next_searched(self, number: int) -> tuple[Suggestion, int, int] | None:
        again = self._queue.next_replicate()
        if again is not None:
            point, replicate = again
            return suggestion_from(self._spec, point.params), point.number, replicate
        if not self._queue.may_begin():
            return None
        suggestion = self.searcher.draw(number, self._queue.next_point)
        if suggestion is None:
            self._storage.set_study_user_attr(self._study_id, EXHAUSTED, True)
            self._queue.has_no_more_points = True
            return None
        return suggestion, self._queue.next_point, 0

    def _store(self, suggestion: Suggestion, point: int, replicate: int) -> None:
        trial = create_trial(
            state=OptunaState.RUNNING,
            params=dict(suggestion.params),
            distributions=dict(suggestion.distributions),
            user_attrs={ASKED: self._asked(suggestion, point, replicate), ATTEMPTS: 1},
            system_attrs=dict(suggestion.of_trial),
        )
        with self._storage.batch(with_next=True):
            for key, value in suggestion.of_study.items():
                self._storage.set_study_system_attr(self._study_id, key, value)
        self._storage.create_new_trial(self._study_id, trial)

    def _asked(self, suggestion: Suggestion, point: int, replicate: int) -> dict[str, Any]:
        config = trial_config(self._spec, suggestion.values, point=point, replicate=replicate)
        return {"params": dict(suggestion.values), "config": config.model_dump(), "started_at_s": time.time()}
