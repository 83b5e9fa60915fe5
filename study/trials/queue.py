"""The queue of trials: which replicate of which point comes next, and how many trials there will be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

from study.config.hyperparameters import Scalar
from study.config.study_config import StudySpec
from study.designs import TrialPlan, listed_points
from study.trials.listener import TrialListener
from study.trials.serialization import ASKED, replicate_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


PointKey = frozenset[tuple[str, bool, Scalar]]


def point_key(params: Mapping[str, Scalar]) -> PointKey:
    """Return what two descriptions of one point share: 1 is 1.0 but not true, and the order does not matter."""
    return frozenset((name, isinstance(value, bool), value) for name, value in params.items())


@dataclass
class Point:
    """One configuration and its trials by replicate; ``is_settled`` says that no further one is begun."""

    number: int
    params: Mapping[str, Scalar]
    trials: dict[int, int] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    is_settled: bool = False

    def remaining(self, replicates: int) -> int:
        """Return how many replicates are yet to be begun."""
        return 0 if self.is_settled else replicates - len(self.trials)

    def is_closed(self, replicates: int) -> bool:
        """Whether all its replicates ended that ever will be."""
        return not self.running and not self.remaining(replicates)

    def next_replicate(self) -> int:
        """Return the first replicate that was not begun."""
        return next(replicate for replicate in range(len(self.trials) + 1) if replicate not in self.trials)


class TrialQueue(TrialListener):
    """Every point that was begun, and the order in which a design's others follow.

    A search begins all replicates of a point before the next point. A listed design begins every point with the
    first seed, then every point with the second; it skips the points that are settled.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.replicates = len(spec.replicates.numbers)
        self.points: dict[int, Point] = {}
        self.keys: set[PointKey] = set()
        self.has_no_more_points = False
        self._spec = spec
        self._listed: list[dict[str, Scalar]] | None = None
        self._open: dict[int, None] = {}  # points of which replicates are to be begun
        self._asked = 0
        self._freed = 0  # replicates of settled points that are not begun
        self._unread: set[int] = set()  # points that an earlier version left without their values
        self._skipped_to = 0  # how many (replicate, point) of a listed design were handed out or skipped

    @property
    def next_point(self) -> int:
        """The number that a new point gets."""
        return len(self.points)

    @property
    def planned(self) -> int:
        """How many trials there will be at most, as far as is known now."""
        reachable = None
        if self.has_no_more_points:
            reachable = self._asked + sum(self.points[point].remaining(self.replicates) for point in self._open)
        return self._plan.planned(dropped=self._freed, reachable=reachable)

    @property
    def is_exhausted(self) -> bool:
        """Whether a search has fewer points than it might have run."""
        asked = min(self._spec.search.trials, self._spec.budget.trials or self._spec.search.trials)
        return self._spec.design.kind == "search" and (self.has_no_more_points or self._plan.planned() < asked)

    def next_listed(self) -> tuple[int, int, dict[str, Scalar]] | None:
        """Return point, replicate and values of the next trial of a listed design, None after the last."""
        points = len(self._points_listed())
        while self._asked < self.planned and self._skipped_to < points * self.replicates:
            replicate, point = divmod(self._skipped_to, points)
            known = self.points.get(point)
            if known is None or (not known.is_settled and replicate not in known.trials):
                return point, replicate, self.listed(point)
            self._skipped_to += 1
        return None

    def listed(self, point: int) -> dict[str, Scalar]:
        """Return the values of a point of a listed design."""
        return self._points_listed()[point]

    def next_replicate(self) -> tuple[Point, int] | None:
        """Return the oldest point of a search that lacks a replicate, and which; None where none does."""
        first = next(iter(self._open), None)
        if first is None or self._asked >= self.planned:
            return None
        return self.points[first], self.points[first].next_replicate()

    def may_begin(self) -> bool:
        """Whether a search may have another point."""
        return self._asked < self.planned

    def on_ask(self, trial: FrozenTrial) -> None:
        """Add the trial to its point."""
        number, replicate = replicate_of(trial)
        point = self.points.get(number)
        if point is None:
            point = self.points[number] = Point(number, trial.user_attrs.get(ASKED, {}).get("params", {}))
            if ASKED not in trial.user_attrs:
                self._unread.add(number)
            self.keys.add(point_key(point.params))
        if point.is_settled:
            self._freed -= 1
        point.trials[replicate] = trial.number
        point.running.add(trial.number)
        self._asked += 1
        self._reopen(point)

    def on_settle(self, trial: FrozenTrial) -> None:
        """Begin no further replicate of the trial's point."""
        point = self.points[replicate_of(trial)[0]]
        if not point.is_settled:
            self._freed += point.remaining(self.replicates)
            point.is_settled = True
        self._reopen(point)

    def on_tell(self, trial: FrozenTrial) -> None:
        """Note that the replicate ended."""
        self.points[replicate_of(trial)[0]].running.discard(trial.number)

    def set_params(self, trial: FrozenTrial) -> None:
        """Set the values of a trial that an earlier version left without them."""
        point = self.points[replicate_of(trial)[0]]
        point.params = trial.user_attrs[ASKED]["params"]
        self._unread.discard(point.number)
        self.keys.add(point_key(point.params))

    def _reopen(self, point: Point) -> None:
        if point.remaining(self.replicates) > 0:
            self._open[point.number] = None
        else:
            self._open.pop(point.number, None)

    def _points_listed(self) -> list[dict[str, Scalar]]:
        """Return the points of a listed design by number: those begun keep theirs, whatever was added to the design."""
        if self._listed is None:
            begun = {number: point.params for number, point in self.points.items() if number not in self._unread}
            keys = {point_key(params) for params in begun.values()}
            left = (point for point in listed_points(self._spec) or () if point_key(point) not in keys)
            numbers = (number for number in count() if number not in begun)
            numbered = {**begun, **dict(zip(numbers, left, strict=False))}
            self._listed = [dict(numbered[number]) for number in range(len(numbered))]
        return self._listed

    @cached_property
    def _plan(self) -> TrialPlan:
        return TrialPlan.of(self._spec)
