"""Counts of the trials, their order by value and the time the study ran, updated as trials change."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial

from study.analysis.ranking import rank_key
from study.best_epoch import best_epoch
from study.config.search_config import Mode
from study.records import TrialState
from study.trials.listener import TrialListener
from study.trials.serialization import ASKED, ENDED, EPOCH_PREFIX, STATES


class TrialStatistics(TrialListener):
    """Counts by state, and the finished trials by value."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._counts: Counter[TrialState] = Counter()
        self._ranked: list[tuple[float, float, int]] = []

    @property
    def counts(self) -> Mapping[TrialState, int]:
        """How many trials there are in each state."""
        return {state: self._counts[state] for state in TrialState}

    def best(self, count: int) -> tuple[int, ...]:
        """Return the finished trials with the best values, the earlier one of equals."""
        return tuple(number for _, _, number in self._ranked[:count])

    def on_ask(self, trial: FrozenTrial) -> None:
        """Count it as running."""
        self._counts[TrialState.RUNNING] += 1

    def on_tell(self, trial: FrozenTrial) -> None:
        """Count it by its final state, and rank it by its value."""
        state = STATES[trial.state]
        self._counts[TrialState.RUNNING] -= 1
        self._counts[state] += 1
        best = best_epoch(sorted(trial.intermediate_values.items()), self._mode)
        if state is not TrialState.FAILED and best is not None and not math.isnan(best[1]):
            # A ranking tells equals apart by the validation loss of the best epoch.
            values = trial.user_attrs.get(f"{EPOCH_PREFIX}{best[0]}", {}).get("values", {})
            insort(self._ranked, rank_key(best[1], values.get("val_loss"), trial.number, self._mode))


class SessionTimes(TrialListener):
    """The time in which some driver ran the study.

    A session whose driver was killed ends with the last moment stored in it. What was stored before there were sessions
    belongs to one that began with the study.
    """

    def __init__(self, began_s: Sequence[float], created_at_s: float) -> None:
        self._began_s = [created_at_s, *began_s]
        self._latest_s = list(self._began_s)
        self._closed_s = 0.0  # of all sessions but the last
        self._is_live = False

    @property
    def began_s(self) -> list[float]:
        """When each session began."""
        return self._began_s[1:]

    def begin(self, at_s: float) -> None:
        """Begin the session of this process."""
        self._closed_s += self._length_s(-1)
        self._began_s.append(max(at_s, self._began_s[-1]))
        self._latest_s.append(self._began_s[-1])
        self._is_live = True

    def driven_s(self, now_s: float) -> float:
        """Return the sum over all sessions."""
        return self._closed_s + (max(now_s - self._began_s[-1], 0.0) if self._is_live else self._length_s(-1))

    def on_ask(self, trial: FrozenTrial) -> None:
        """Note when it was asked for."""
        self.moment(trial.user_attrs.get(ASKED, {}).get("started_at_s"))

    def on_report(self, trial: FrozenTrial, epoch: int) -> None:
        """Note when it reported."""
        self.moment(trial.user_attrs.get(f"{EPOCH_PREFIX}{epoch}", {}).get("at_s"))

    def on_tell(self, trial: FrozenTrial) -> None:
        """Note when it ended."""
        self.moment(trial.user_attrs.get(ENDED, {}).get("finished_at_s"))

    def moment(self, at_s: float | None) -> None:
        """Note that the study was driven at a time."""
        if at_s is None:
            return
        at = max(bisect_right(self._began_s, at_s) - 1, 0)
        before_s = self._length_s(at)
        self._latest_s[at] = max(self._latest_s[at], at_s)
        if at < len(self._began_s) - 1:
            self._closed_s += self._length_s(at) - before_s

    def _length_s(self, at: int) -> float:
        return self._latest_s[at] - self._began_s[at]
