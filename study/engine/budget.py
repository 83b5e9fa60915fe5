"""Say whether a study has used up its budget, met its target or failed too often; knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from study.config.search_config import Mode
from study.config.study_config import StudySpec
from study.metrics import is_better, metric_named
from study.paths import StudyLayout, write_text_atomic
from study.records import StopReason, TrialState
from study.storage.study_storage import StudyStorage

SECONDS_PER_HOUR = 3600.0


class BudgetLimits:
    """The budget of a study against what its storage has; whichever limit is met first counts.

    A target is met by one epoch of one trial that reaches all its metrics.
    """

    def __init__(
        self,
        storage: StudyStorage,
        gpus_of: Callable[[Mapping[str, Any]], float] = lambda config: 0.0,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look at all that the storage has.

        Args:
            storage: the study's memory.
            gpus_of: the GPUs of a trial with a configuration.
            clock: seconds since 1970.
        """
        self._storage = storage
        self._budget = storage.spec.budget
        self._gpus_of = gpus_of
        self._clock = clock
        self._modes = {name: _mode(storage.spec, name) for name in self._budget.target}
        records = storage.records()
        self._met = bool(self._modes) and any(self.meets(epoch.values) for one in records for epoch in one.history)
        self._accelerator_s = sum((one.busy_s or 0.0) * gpus_of(one.config) for one in records if one.config)

    def meets(self, values: Mapping[str, float]) -> bool:
        """Whether the metrics of one epoch reach the target; there may be none."""
        target = self._budget.target
        return bool(target) and all(
            name in values and not is_better(wanted, values[name], self._modes[name]) for name, wanted in target.items()
        )

    def note(self, values: Mapping[str, float]) -> None:
        """Take the metrics of one epoch."""
        self._met = self._met or self.meets(values)

    def spend(self, trial: int, busy_s: float) -> None:
        """Take the time that a worker spent on a trial; one that runs alone has a whole GPU."""
        if self._budget.accelerator_hours is None:
            return
        assignment = self._storage.assignment(trial)
        gpus = self._gpus_of(assignment.record.config)
        self._accelerator_s += busy_s * (max(1.0, gpus) if assignment.alone and gpus else gpus)

    def reached(self) -> StopReason | None:
        """Return the limit that is met, None for none."""
        budget, storage = self._budget, self._storage
        if self._met:
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
    own = next((one.mode for one in spec.objective_list if one.metric == metric), None)
    return own or (known and known.mode) or "max"


class StopRequest(StrEnum):
    """How a study is to stop: its trials end at their next epoch, or are left as they are to go on later."""

    SOON = "soon"
    NOW = "now"


def request_stop(layout: StudyLayout, wish: StopRequest) -> None:
    """Ask whoever drives the study to stop."""
    write_text_atomic(layout.stop_wish, wish.value)


def stop_requested(layout: StudyLayout) -> StopRequest | None:
    """Return what was asked of the driver, None as a rule; a word of another version is the gentler wish."""
    try:
        said = layout.stop_wish.read_text(encoding="utf-8")
    except OSError:
        return None
    return StopRequest.NOW if said == StopRequest.NOW.value else StopRequest.SOON


def clear_stop_request(layout: StudyLayout) -> None:
    """Take a wish back, or begin without one that an earlier driver never heard."""
    layout.stop_wish.unlink(missing_ok=True)
