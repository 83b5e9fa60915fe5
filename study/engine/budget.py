"""Check a study against its budget: wall clock, accelerator hours, failures, target; independent of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from study.best_epoch import is_better
from study.config.search_config import Mode
from study.config.study_config import StudySpec
from study.metric_catalog import metric_named
from study.records import StopReason, TrialState
from study.storage.study_storage import StudyStorage

SECONDS_PER_HOUR = 3600.0


class BudgetLimits:
    """The limits of a study's budget; the first one reached counts.

    A target is reached by one epoch of one trial that reaches all its metrics.
    """

    def __init__(
        self,
        storage: StudyStorage,
        gpus_of: Callable[[Mapping[str, Any]], float] = lambda config: 0.0,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Count what the study used up so far.

        Args:
            storage: the study's durable state.
            gpus_of: returns the GPUs of a trial with a configuration.
            clock: returns seconds since 1970.
        """
        self._storage = storage
        self._budget = storage.spec.budget
        self._gpus_of = gpus_of
        self._clock = clock
        self._modes = {name: _mode(storage.spec, name) for name in self._budget.target}
        records = storage.records()
        self._target_reached = bool(self._modes) and any(
            self.reaches_target(epoch.values) for record in records for epoch in record.history
        )
        self._accelerator_s = sum(
            (record.busy_s or 0.0) * gpus_of(record.config) for record in records if record.config
        )

    def reaches_target(self, values: Mapping[str, float]) -> bool:
        """Return whether the metrics of one epoch reach the target; False without a target."""
        target = self._budget.target
        return bool(target) and all(
            name in values and not is_better(goal, values[name], self._modes[name]) for name, goal in target.items()
        )

    def add_epoch(self, values: Mapping[str, float]) -> None:
        """Count the metrics of one epoch."""
        self._target_reached = self._target_reached or self.reaches_target(values)

    def add_busy_time(self, trial: int, busy_s: float) -> None:
        """Count the time that a worker spent on a trial; a trial that runs alone has a whole GPU."""
        if self._budget.accelerator_hours is None:
            return
        assignment = self._storage.assignment(trial)
        gpus = self._gpus_of(assignment.record.config)
        self._accelerator_s += busy_s * (max(1.0, gpus) if assignment.alone and gpus else gpus)

    def reached(self) -> StopReason | None:
        """Return the first limit that is reached, None if there is none."""
        budget, storage = self._budget, self._storage
        if self._target_reached:
            return StopReason.TARGET
        if budget.failures is not None and storage.counts().get(TrialState.FAILED, 0) >= budget.failures:
            return StopReason.FAILURES
        if budget.wall_clock_s is not None and storage.driven_s(self._clock()) >= budget.wall_clock_s:
            return StopReason.TIME_BUDGET
        if budget.accelerator_hours is not None:
            limit_s = budget.accelerator_hours * SECONDS_PER_HOUR
            return StopReason.ACCELERATOR_BUDGET if self._accelerator_s >= limit_s else None
        return None


def _mode(spec: StudySpec, metric: str) -> Mode:
    known = metric_named(metric)
    own = next((objective.mode for objective in spec.objective_list if objective.metric == metric), None)
    return own or (known and known.mode) or "max"
