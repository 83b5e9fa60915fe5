"""Find a point that was not run yet where a sampler keeps suggesting those that were; pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Set
from heapq import heapify, heappop
from itertools import islice

from study.hyperparameters import Scalar
from study.ledger.roster import PointKey, key_of
from study.points import grid_points
from study.spec import Choice, Constant, Integer, StudySpec, stable_seed

_FEWEST = 1024


def is_finite(spec: StudySpec) -> bool:
    """Whether a space has listed values only."""
    return all(isinstance(one.domain, Choice | Constant | Integer) or one.domain.step is not None for one in spec.space)


class Unseen:
    """The points of a finite space that were not run, in the order of a stable hash.

    Of a space with far more points than were run only the first of its list are looked at: a power of two, and at
    least twice as many as were run. So the next point depends on those that were run alone, and a study that runs all
    n points of a space lists them O(log n) times.
    """

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._listed = 0
        self._waiting: list[tuple[int, int]] = []
        self._points: list[dict[str, Scalar]] = []

    def next(self, seen: Set[PointKey]) -> Mapping[str, Scalar] | None:
        """Return the next point that is not among the seen ones, None when all are."""
        wanted = _FEWEST
        while wanted < 2 * len(seen):
            wanted *= 2
        if wanted != self._listed:
            self._list(wanted)
        while self._waiting:
            point = self._points[self._waiting[0][1]]
            if key_of(point) not in seen:
                return point
            heappop(self._waiting)
        return None

    def _list(self, count: int) -> None:
        self._listed = count
        self._points = list(islice(grid_points(self._spec.space), count))
        seed = self._spec.search.seed
        self._waiting = [(_hash(seed, point), at) for at, point in enumerate(self._points)]
        heapify(self._waiting)


def _hash(seed: int, point: Mapping[str, Scalar]) -> int:
    return stable_seed(seed, "unseen", *sorted(point.items()))
