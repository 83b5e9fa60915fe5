"""Compare points by the replicates they share; pure, no I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from statistics import fmean

FEWEST_PAIRS = 2


class SignedRanks:
    """Whether a point is worse than the best one, by the one-sided signed-rank test over common replicates.

    The best point is the one with the best mean among those with at least as many values as the judged one, so
    that a lucky first replicate is not what others are held against. A point whose own mean is as good as the best
    one's is never worse, whatever the ranks say. With n pairs no p is below 2 ** -n, so four are needed for 0.1.

    Source: Wilcoxon 1945; the rule of Optuna's WilcoxonPruner, with replicates as its steps.
    """

    def __init__(self, p_value: float, *, largest: bool) -> None:
        self._p_value = p_value
        self._sign = -1.0 if largest else 1.0  # smaller is better from here on
        self._values: dict[int, dict[int, float]] = {}
        self._by_mean: dict[int, list[tuple[float, int]]] = {}  # points by how many values they have, best first

    def put(self, point: int, replicate: int, value: float) -> None:
        """Take the value of a replicate."""
        values = self._values.setdefault(point, {})
        if values:
            ranked = self._by_mean[len(values)]
            del ranked[bisect_left(ranked, (_mean(values), point))]
        values[replicate] = self._sign * value
        insort(self._by_mean.setdefault(len(values), []), (_mean(values), point))

    def is_worse(self, point: int, replicate: int, value: float) -> bool:
        """Whether a point would be worse than the best one with one more value."""
        mine = {**self._values.get(point, {}), replicate: self._sign * value}
        best = self._best(len(mine), point)
        if best is None:
            return False
        theirs = self._values[best]
        common = sorted(mine.keys() & theirs.keys())
        if len(common) < FEWEST_PAIRS or _mean(mine) <= _mean(theirs):
            return False
        return _p_of([mine[replicate] - theirs[replicate] for replicate in common]) < self._p_value

    def _best(self, least: int, but: int) -> int | None:
        """Return the best point that has at least so many values."""
        firsts = (
            next((entry for entry in ranked if entry[1] != but), None)
            for count, ranked in self._by_mean.items()
            if count >= least
        )
        return min((entry for entry in firsts if entry is not None), default=(0.0, None))[1]


def _mean(values: dict[int, float]) -> float:
    return fmean(values[replicate] for replicate in sorted(values))


def _p_of(differences: list[float]) -> float:
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue)
