"""Find the best trials of thousands with a few small requests.

MLflow's own order by a metric takes a time that is quadratic in the number of runs where the server keeps them in
sqlite: 30 s for 10,000. Runs whose metric is beyond a bound it finds at once, so the bound is moved until few enough
are beyond it, and those are put in order here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from study.config.search_config import Mode
from study.records import TrialRecord

_MOST_REQUESTS = 30
_PER_PLACE = 3
_FEWEST = 40
_NEAR = 0.01
_WIDER = 8.0
_SPARE = 1.5

Fetch = Callable[[float | None, int | None], Iterable[TrialRecord]]
"""Gives trials whose metric is at least as good as a bound, None for all of them; at most so many."""


@dataclass(frozen=True)
class TopQuery:
    """What is wanted: so many trials that ``fits`` takes, the best by a metric."""

    metric: str
    mode: Mode
    count: int
    fits: Callable[[TrialRecord], bool]

    def good(self, record: TrialRecord) -> float:
        """Return the metric such that more is better."""
        value = record.metrics[self.metric]
        return value if self.mode == "max" else -value

    def bound(self, good: float) -> float:
        """Return the metric of which ``good`` is the goodness."""
        return good if self.mode == "max" else -good


def top_trials(asked: TopQuery, fetch: Fetch, total: int, best: float | None) -> list[TrialRecord]:
    """Return trials among which are the best ones, in no order; all trials where fewer fit than are wanted.

    Args:
        asked: what is wanted.
        fetch: asks the server.
        total: how many trials there are about.
        best: the best value that some trial has, where that is known.
    """
    limit = max(_FEWEST, _PER_PLACE * asked.count)
    if total <= limit:
        return list(fetch(None, None))
    start = None if best is None or not math.isfinite(best) else asked.bound(best)
    search = _Search(start, total)
    for _ in range(_MOST_REQUESTS):
        bound = search.bound
        found = list(fetch(None if bound is None else asked.bound(bound), limit + 1))
        goods = sorted((asked.good(one) for one in found if asked.fits(one)), reverse=True)
        if len(found) <= limit:
            if bound is None or len(goods) >= asked.count:
                return found
            search.widen()
        elif len(goods) < asked.count:
            limit *= 4
        elif not search.tighten(goods, asked.count, len(found)):
            return list(fetch(asked.bound(goods[asked.count - 1]), None))  # many have just this value
        if search.is_hopeless:
            break
    return list(fetch(None if search.enough is None else asked.bound(search.enough), None))


class _Search:
    """A bound on goodness between one that is too strict and one that is too loose."""

    def __init__(self, best: float | None, total: int) -> None:
        """Begin close below the best value, without one at no bound."""
        self._best = best
        self._beyond: float | None = total if best is None else None  # how many there are about
        self._step = 0.0 if best is None else _NEAR * (abs(best) or 1.0)
        self.enough: float | None = None  # a bound beyond which there are enough
        self.bound = None if best is None else best - self._step

    @property
    def is_hopeless(self) -> bool:
        """Whether the bound is so loose that the wanted number cannot be there."""
        return not math.isfinite(self._step)

    def widen(self) -> None:
        """Let more trials through: half-way to where enough are known to be, or further from the best."""
        self._beyond = None
        if self.enough is not None and self.bound is not None:
            middle = self.bound / 2 + self.enough / 2
            self.bound = middle if self.enough < middle < self.bound else self.enough
        elif self._best is not None:
            self._step *= _WIDER
            self.bound = self._best - self._step
            if self._step > 1e6 * (abs(self._best) or 1.0):
                self._step = math.inf

    def tighten(self, goods: Sequence[float], count: int, seen: int) -> bool:
        """Let fewer through, by what some of those that came through are like; say whether that is possible.

        Args:
            goods: of those that fit, the best first; at least ``count``.
            count: how many are wanted.
            seen: how many came through, of whatever kind.
        """
        place = count
        if self._beyond is not None:
            fitting = self._beyond * len(goods) / seen
            place = max(1, min(count, math.ceil(_SPARE * count * len(goods) / fitting)))
            self._beyond = self._beyond * place / len(goods)
        if self.bound is not None and goods[place - 1] <= self.bound:
            return False
        self.enough, self.bound = goods[count - 1], goods[place - 1]
        return True
