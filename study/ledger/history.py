"""Show a sampler one trial per point, whatever became of its replicates."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.ledger.entries import best_value, place_of, stop_of
from study.ledger.follower import Follower
from study.ledger.roster import Point, Roster
from study.ledger.selections import Selection
from study.records import StopReason
from study.spec import Mode

_MOST_KINDS = 64  # of points, by what their conditions leave of the space


class History(Follower):
    """The points as a sampler sees them: those of earlier studies first, then this study's by number.

    A point is RUNNING until all its replicates ended, then COMPLETE with the mean of their values, or PRUNED with
    what the first pruned one reported; a point of which every replicate failed is left out. A replicate that a budget
    or the user stopped counts with its best value so far, by ``mode``; with several objectives, where that is None,
    it is left out. What a sampler noted of a point is with its first replicate.
    """

    def __init__(
        self,
        earlier: Sequence[FrozenTrial],
        selection: Selection,
        roster: Roster,
        trial_of: Callable[[int], FrozenTrial],
        mode: Mode | None = None,
    ) -> None:
        self._mode = mode
        self._earlier = len(earlier)
        self._selection = selection
        self._roster = roster
        self._trial_of = trial_of
        self._running: dict[int, FrozenTrial] = {}
        self._closed: set[int] = set()
        self._domains: list[dict[str, BaseDistribution]] = []
        for one in earlier:
            self._share_domains(one)
            selection.add(one)

    def number_of(self, point: int) -> int:
        """Return the number, and id, by which the sampler knows a point."""
        return self._earlier + point

    def shown(self, needed: Iterable[int] = ()) -> list[FrozenTrial]:
        """Return what the sampler sees, by number; the ended points with these numbers are among them if they may."""
        ended = self._selection.shown(needed)
        return sorted([*ended, *self._running.values()], key=lambda one: one.number)

    def asked(self, trial: FrozenTrial) -> None:
        """Show that the point runs."""
        number = place_of(trial)[0]
        if number not in self._running and not self._is_closed(number):
            self._running[number] = self._begun(number)

    def told(self, trial: FrozenTrial) -> None:
        """Show what became of the point, once it is known."""
        number = place_of(trial)[0]
        if number in self._closed or not self._is_closed(number):
            return
        self._closed.add(number)
        begun = self._running.pop(number) if number in self._running else self._begun(number)
        ended = self._ended(begun, self._roster.points[number])
        if ended is not None:
            self._selection.add(ended)

    def _is_closed(self, number: int) -> bool:
        return self._roster.points[number].is_closed(self._roster.replicates)

    def _begun(self, number: int) -> FrozenTrial:
        first = self._trial_of(min(self._roster.points[number].trials.values()))
        begun = _as_point(first, self.number_of(number), OptunaState.RUNNING)
        self._share_domains(begun)
        return begun

    def _share_domains(self, point: FrozenTrial) -> None:
        """Let points with equal domains have the same dictionary of them, as long as there are few kinds."""
        for known in self._domains:
            if known == point.distributions:
                point.distributions = known
                return
        if len(self._domains) < _MOST_KINDS:
            self._domains.append(point.distributions)

    def _ended(self, running: FrozenTrial, point: Point) -> FrozenTrial | None:
        runs = [self._trial_of(point.trials[one]) for one in sorted(point.trials)]
        pruned = next((one for one in runs if one.state is OptunaState.PRUNED and _is_weak(one)), None)
        if pruned is not None:
            return _as_point(running, running.number, OptunaState.PRUNED, reported=pruned.intermediate_values)
        values = [found for one in runs if (found := self._values(one)) is not None]
        if not values:
            return None
        means = [fmean(one) for one in zip(*values, strict=True)]
        return _as_point(running, running.number, OptunaState.COMPLETE, values=means)

    def _values(self, run: FrozenTrial) -> list[float] | None:
        """Return the values of a run; of one that somebody stopped its best so far, where there is one objective."""
        if run.state is OptunaState.COMPLETE:
            return list(run.values)
        best = best_value(run, self._mode) if run.state is OptunaState.PRUNED and self._mode else None
        return None if best is None or math.isnan(best) else [best]


def _is_weak(run: FrozenTrial) -> bool:
    """Whether the pruner stopped it, and not a budget or the user."""
    stop = stop_of(run)
    return stop is None or stop.reason is StopReason.PRUNED


def _as_point(
    trial: FrozenTrial,
    number: int,
    state: OptunaState,
    *,
    values: Sequence[float] | None = None,
    reported: Mapping[int, float] | None = None,
) -> FrozenTrial:
    point = copy.copy(trial)
    point.number, point._trial_id = number, number
    point.state = state
    point.values = values
    point.intermediate_values = dict(reported or {})
    point.user_attrs = {}
    return point
