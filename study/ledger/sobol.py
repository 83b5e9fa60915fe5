"""Suggest the points of a scrambled Sobol sequence."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from study.space import SHORTER_LIST

_MOST_DIMENSIONS = 21_201


class SobolSampler(BaseSampler):
    """A low-discrepancy sequence over all parameters, those that exist beside some values of others included.

    Optuna's own draws these at random, and counts in the storage. Here the place in the sequence is the point's
    number, so a point depends on the seed and its number alone.

    Source: Sobol 1967, with the direction numbers of Joe & Kuo 2008 and Owen's scrambling (1998) as scipy has them.
    """

    def __init__(self, names: tuple[str, ...], index: int, seed: int) -> None:
        self._names = names
        self._index = index
        self._seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Say that every value is suggested by itself: the sequence is what they have in common."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Suggest nothing together."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value at the parameter's coordinate."""
        at = self._names.index(param_name.partition(SHORTER_LIST)[0])
        return value_at(param_distribution, _sequence(self._seed, len(self._names), self._index)[at])


def value_at(asked: BaseDistribution, share: float) -> Any:
    """Return the value below which a share of a domain lies.

    Args:
        asked: the domain; on a log scale equal ratios are equal shares, listed values have equal shares.
        share: in [0, 1).
    """
    match asked:
        case CategoricalDistribution(choices=choices):
            return choices[int(share * len(choices))]
        case FloatDistribution(low=low, high=high, step=None, log=log):
            return math.exp(_between(math.log(low), math.log(high), share)) if log else _between(low, high, share)
        case IntDistribution(low=low, high=high, log=True):
            value = math.exp(_between(math.log(low - 0.5), math.log(high + 0.5), share))
            return min(max(round(value), low), high)
        case FloatDistribution(low=low, high=high, step=step) | IntDistribution(low=low, high=high, step=step):
            assert step is not None
            return low + int(share * (round((high - low) / step) + 1)) * step
    raise AssertionError(f"unknown domain {asked!r}")


def _between(low: float, high: float, share: float) -> float:
    return min(low + share * (high - low), high)


@lru_cache(maxsize=8)
def _sequence(seed: int, dimensions: int, index: int) -> tuple[float, ...]:
    """Return one point of [0, 1) ** dimensions."""
    from scipy.stats.qmc import Sobol

    assert dimensions <= _MOST_DIMENSIONS
    engine = Sobol(dimensions, scramble=True, rng=seed)
    if index:
        engine.fast_forward(index)
    return tuple(engine.random(1)[0].tolist())
