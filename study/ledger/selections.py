"""Choose which of the points that ended a sampler is shown, so that its cost stops growing with them.

What is shown depends on which points ended and how, never on when they were looked at: a study that was resumed shows
its sampler the same.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from study.spec import Mode, StudySpec, stable_seed


class Selection(Protocol):
    """Takes points as they end."""

    def add(self, point: FrozenTrial) -> None:
        """Take a point that ended."""

    def shown(self, needed: Iterable[int]) -> list[FrozenTrial]:
        """Return those to show, in any order; the ones with these numbers are among them if they may be."""


class Nothing:
    """For samplers that look at nothing."""

    def add(self, point: FrozenTrial) -> None:
        """Forget it."""

    def shown(self, needed: Iterable[int]) -> list[FrozenTrial]:
        """Show none."""
        return []


class Recent:
    """The points that ran to their end last, by number: for samplers that go from generation to generation.

    Two generations and the trials in flight must be among them. Older points of which new ones descend are needed too.
    """

    def __init__(self, count: int = 500) -> None:
        self._count = count
        self._numbers: list[int] = []
        self._points: dict[int, FrozenTrial] = {}

    def add(self, point: FrozenTrial) -> None:
        """Take a point that ended."""
        if point.state is OptunaState.COMPLETE:
            insort(self._numbers, point.number)
            self._points[point.number] = point

    def shown(self, needed: Iterable[int]) -> list[FrozenTrial]:
        """Return the last ones and the needed ones."""
        numbers = {*self._numbers[-self._count :], *(one for one in needed if one in self._points)}
        return [self._points[one] for one in numbers]


class BestAndSome:
    """The best points and a uniform sample of the others, which is drawn by a stable hash of seed and number.

    TPE's good ones are the best min(n / 10, 25) of n points (those that were pruned after all others), so shown the
    best 50 and 200 others it has exactly those it would have of all points; only the density of the bad ones is an
    estimate from a sample. A Gaussian process knows the best region as well as with all points, the rest coarsely.

    With several objectives the best ones are those no other dominates, if they are more than ``best`` a sample of them.
    Both lists are kept in order, so a point costs O(log n) comparisons (and one pass over the front).
    """

    def __init__(self, spec: StudySpec, *, best: int, others: int, pruned: bool) -> None:
        self._best = best
        self._others = others
        self._states = (OptunaState.COMPLETE, OptunaState.PRUNED) if pruned else (OptunaState.COMPLETE,)
        self._signs = [_sign(one.mode) for one in spec.aims]
        self._seed = spec.search.seed
        self._points: dict[int, FrozenTrial] = {}
        self._by_value: list[tuple[tuple[float, ...], int]] = []
        self._by_hash: list[tuple[int, int]] = []
        self._front: dict[int, tuple[float, ...]] = {}

    def add(self, point: FrozenTrial) -> None:
        """Take a point that ended; with several objectives one without their values is left out."""
        several = len(self._signs) > 1
        if point.state not in self._states or (several and point.state is not OptunaState.COMPLETE):
            return
        self._points[point.number] = point
        insort(self._by_hash, (stable_seed(self._seed, "shown", point.number), point.number))
        if several:
            self._put_on_front(point)
        else:
            insort(self._by_value, (self._place(point), point.number))

    def shown(self, needed: Iterable[int]) -> list[FrozenTrial]:
        """Return the best ones and the sample."""
        if len(self._points) <= self._best + self._others:
            return list(self._points.values())
        numbers = set(self._best_numbers())
        wanted = len(numbers) + self._others
        for _, number in self._by_hash:
            if len(numbers) >= wanted:
                break
            numbers.add(number)
        return [self._points[one] for one in numbers]

    def _best_numbers(self) -> Sequence[int]:
        if len(self._signs) == 1:
            return [number for _, number in self._by_value[: self._best]]
        return sorted(self._front, key=lambda one: stable_seed(self._seed, "shown", one))[: self._best]

    def _place(self, point: FrozenTrial) -> tuple[float, ...]:
        """Return what TPE orders points by: the complete by value, then the pruned by age and last value."""
        if point.state is OptunaState.COMPLETE:
            return (0.0, self._signs[0] * point.values[0])
        if not point.intermediate_values:
            return (2.0,)
        step, value = max(point.intermediate_values.items())
        return (1.0, -float(step), self._signs[0] * value)

    def _put_on_front(self, point: FrozenTrial) -> None:
        mine = tuple(sign * value for sign, value in zip(self._signs, point.values, strict=True))
        if any(_dominates(one, mine) for one in self._front.values()):
            return
        self._front = {number: one for number, one in self._front.items() if not _dominates(mine, one)}
        self._front[point.number] = mine


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def _sign(mode: Mode) -> float:
    return -1.0 if mode == "max" else 1.0


SELECTIONS: dict[str, Callable[[StudySpec], Selection]] = {
    "tpe": lambda spec: BestAndSome(spec, best=50, others=200, pruned=True),
    "random": lambda spec: Nothing(),
    "gp": lambda spec: BestAndSome(spec, best=30, others=70, pruned=False),  # its cost is cubic in their number
    "cmaes": lambda spec: Recent(),
    "qmc": lambda spec: Nothing(),
    "nsga2": lambda spec: Recent(),
}
