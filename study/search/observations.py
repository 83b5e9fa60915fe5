"""Which of the ended points a sampler is shown, so that its cost stays bounded.

That depends on which points ended and how, never on when: a resumed study shows its sampler the same.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Protocol

import numpy as np
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.analysis.pareto import dominates
from study.best_epoch import best_epoch
from study.config.search_config import Mode
from study.config.study_config import StudySpec, stable_seed
from study.records import StopReason
from study.search.optuna_adapter import frozen_point
from study.trials.listener import TrialListener
from study.trials.queue import Point, TrialQueue
from study.trials.serialization import replicate_of, stop_of


class ObservationPolicy(Protocol):
    """Chooses which of the ended points a sampler is shown."""

    def add(self, point: FrozenTrial) -> None:
        """Add a point that ended."""

    def shown(self) -> list[FrozenTrial]:
        """Return those to show, in any order."""


class RecentObservations:
    """The points that ran to their end last, by number: for samplers that go from generation to generation.

    Args:
        count: how many; two generations and the trials in flight must be among them. None shows all, 0 none.
    """

    def __init__(self, count: int | None) -> None:
        self._count = count
        self._points: list[FrozenTrial] = []

    def add(self, point: FrozenTrial) -> None:
        """Add a point that ended."""
        if point.state is OptunaState.COMPLETE and self._count != 0:
            insort(self._points, point, key=lambda known: known.number)

    def shown(self) -> list[FrozenTrial]:
        """Return the last ones."""
        return self._points[-self._count :] if self._count else self._points


class TopAndRandomSample:
    """The best points and a uniform sample of the others, which is drawn by a stable hash of seed and number.

    TPE's good group is the best min(n / 10, 25) of n points, the pruned ones last: of the best 50 and 200 others it is
    the same as of all points, and only the density of the bad group is estimated from a sample. A Gaussian process
    knows the best region as well as from all points, and the rest coarsely.

    With several objectives the best ones are those no other dominates, if they are more than ``best`` a sample of them.
    Both lists are kept in order, so a point costs O(log n) comparisons (and one pass over the front).
    """

    def __init__(self, spec: StudySpec, *, best: int, others: int, pruned: bool) -> None:
        self._best = best
        self._others = others
        self._states = (OptunaState.COMPLETE, OptunaState.PRUNED) if pruned else (OptunaState.COMPLETE,)
        self._signs = [_sign(objective.mode) for objective in spec.objective_list]
        self._seed = spec.search.seed
        self._points: dict[int, FrozenTrial] = {}
        self._by_value: list[tuple[tuple[float, ...], int]] = []
        self._by_hash: list[tuple[int, int]] = []
        self._front: list[int] = []
        self._front_costs = np.empty((len(self._signs), 0))  # [k, members of the front]

    def add(self, point: FrozenTrial) -> None:
        """Add a point that ended; with several objectives one without their values is left out."""
        several = len(self._signs) > 1
        if point.state not in self._states or (several and point.state is not OptunaState.COMPLETE):
            return
        self._points[point.number] = point
        insort(self._by_hash, (stable_seed(self._seed, "shown", point.number), point.number))
        if several:
            self._put_on_front(point)
        else:
            insort(self._by_value, (self._place(point), point.number))

    def shown(self) -> list[FrozenTrial]:
        """Return the best ones and the sample."""
        if len(self._points) <= self._best + self._others:
            return list(self._points.values())
        numbers = set(self._best_numbers())
        wanted = len(numbers) + self._others
        for _, number in self._by_hash:
            if len(numbers) >= wanted:
                break
            numbers.add(number)
        return [self._points[number] for number in numbers]

    def _best_numbers(self) -> Sequence[int]:
        if len(self._signs) == 1:
            return [number for _, number in self._by_value[: self._best]]
        return sorted(self._front, key=lambda number: stable_seed(self._seed, "shown", number))[: self._best]

    def _place(self, point: FrozenTrial) -> tuple[float, ...]:
        """Return what TPE orders points by: the complete by value, then the pruned by age and last value."""
        if point.state is OptunaState.COMPLETE:
            return (0.0, self._signs[0] * point.values[0])
        if not point.intermediate_values:
            return (2.0,)
        step, value = max(point.intermediate_values.items())
        return (1.0, -float(step), self._signs[0] * value)

    def _put_on_front(self, point: FrozenTrial) -> None:
        costs = np.multiply(self._signs, point.values)[:, None]  # [k, 1]
        if dominates(self._front_costs, costs).any():
            return
        kept = ~dominates(costs, self._front_costs)
        self._front = [*(number for number, keep in zip(self._front, kept, strict=True) if keep), point.number]
        self._front_costs = np.hstack([self._front_costs[:, kept], costs])


def _sign(mode: Mode) -> float:
    return -1.0 if mode == "max" else 1.0


class ObservationHistory(TrialListener):
    """The points as a sampler sees them: those of earlier studies first, then this study's by number.

    A point is RUNNING until all its replicates ended, then COMPLETE with the mean of their values, or PRUNED with
    what its first pruned replicate reported; it is left out if every replicate failed. A replicate that a budget or the
    user stopped counts with its best value so far, by ``mode``; it is left out where that is None, with several
    objectives. What a sampler stored of a point is with its first replicate.
    """

    def __init__(
        self,
        earlier: Sequence[FrozenTrial],
        selection: ObservationPolicy,
        queue: TrialQueue,
        trial_of: Callable[[int], FrozenTrial],
        mode: Mode | None = None,
    ) -> None:
        self._mode = mode
        self._earlier = len(earlier)
        self._selection = selection
        self._queue = queue
        self._trial_of = trial_of
        self._running: dict[int, FrozenTrial] = {}
        self._closed: set[int] = set()
        for point in earlier:
            selection.add(point)

    def number_of(self, point: int) -> int:
        """Return the number, and id, by which the sampler knows a point."""
        return self._earlier + point

    def shown(self) -> list[FrozenTrial]:
        """Return the points that the sampler sees, by number."""
        return sorted([*self._selection.shown(), *self._running.values()], key=lambda point: point.number)

    def on_ask(self, trial: FrozenTrial) -> None:
        """Show that the point runs."""
        number = replicate_of(trial)[0]
        if number not in self._running and not self._is_closed(number):
            self._running[number] = self._begun(number)

    def on_tell(self, trial: FrozenTrial) -> None:
        """Show what became of the point, once it is known."""
        number = replicate_of(trial)[0]
        if number in self._closed or not self._is_closed(number):
            return
        self._closed.add(number)
        begun = self._running.pop(number) if number in self._running else self._begun(number)
        ended = self._ended(begun, self._queue.points[number])
        if ended is not None:
            self._selection.add(ended)

    def _is_closed(self, number: int) -> bool:
        return self._queue.points[number].is_closed(self._queue.replicates)

    def _begun(self, number: int) -> FrozenTrial:
        first = self._trial_of(min(self._queue.points[number].trials.values()))
        return _as_point(first, self.number_of(number), OptunaState.RUNNING)

    def _ended(self, running: FrozenTrial, point: Point) -> FrozenTrial | None:
        runs = [self._trial_of(point.trials[replicate]) for replicate in sorted(point.trials)]
        pruned = next((run for run in runs if run.state is OptunaState.PRUNED and _is_weak(run)), None)
        if pruned is not None:
            return _as_point(running, running.number, OptunaState.PRUNED, reported=pruned.intermediate_values)
        values = [result for run in runs if (result := self._values(run)) is not None]
        if not values:
            return None
        means = [fmean(column) for column in zip(*values, strict=True)]
        return _as_point(running, running.number, OptunaState.COMPLETE, values=means)

    def _values(self, run: FrozenTrial) -> list[float] | None:
        """Return the values of a run; for a stopped run with one objective its best value so far."""
        if run.state is OptunaState.COMPLETE:
            return list(run.values)
        if run.state is not OptunaState.PRUNED or self._mode is None:
            return None
        best = best_epoch(sorted(run.intermediate_values.items()), self._mode)
        return None if best is None or math.isnan(best[1]) else [best[1]]


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
    return frozen_point(
        number, state, trial.params, trial.distributions,
        values=values, reported=reported or {}, system_attrs=trial.system_attrs,
    )  # fmt: skip
