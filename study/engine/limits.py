"""Say whether a study has used up its budget, met its target or failed too often; knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from study.ledger import Ledger
from study.records import StopReason, TrialState, is_better, metric_named
from study.spec import Mode, StudySpec

SECONDS_PER_HOUR = 3600.0


class Limits:
    """The budget of a study against what its ledger has; whichever limit is met first counts.

    A target is met by one epoch of one trial that reaches all its metrics.
    """

    def __init__(self, ledger: Ledger, *, gpus_per_trial: float, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._budget = ledger.spec.budget
        self._gpus = gpus_per_trial
        self._clock = clock
        self._modes = {name: _mode(ledger.spec, name) for name in self._budget.target}
        epochs = (epoch for record in ledger.records() for epoch in record.history)
        self._met = bool(self._modes) and any(self.meets(one.values) for one in epochs)

    def meets(self, values: Mapping[str, float]) -> bool:
        """Whether the metrics of one epoch reach the target; there may be none."""
        target = self._budget.target
        return bool(target) and all(
            name in values and not is_better(wanted, values[name], self._modes[name]) for name, wanted in target.items()
        )

    def note(self, values: Mapping[str, float]) -> None:
        """Take the metrics of one epoch."""
        self._met = self._met or self.meets(values)

    def reached(self) -> StopReason | None:
        """Return the limit that is met, None for none."""
        budget, ledger = self._budget, self._ledger
        if self._met:
            return StopReason.TARGET
        if budget.failures is not None and ledger.counts().get(TrialState.FAILED, 0) >= budget.failures:
            return StopReason.FAILURES
        if budget.wall_clock_s is not None and ledger.driven_s(self._clock()) >= budget.wall_clock_s:
            return StopReason.TIME_BUDGET
        if budget.accelerator_hours is not None:
            spent_s = ledger.accelerator_s(self._gpus)
            if spent_s >= budget.accelerator_hours * SECONDS_PER_HOUR:
                return StopReason.ACCELERATOR_BUDGET
        return None


def _mode(spec: StudySpec, metric: str) -> Mode:
    known = metric_named(metric)
    own = next((one.mode for one in spec.aims if one.metric == metric), None)
    return own or (known and known.mode) or "max"
