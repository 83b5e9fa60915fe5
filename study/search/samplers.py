"""The samplers that a study file may name, and which points each of them is shown."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from study.config.study_config import StudySpec, stable_seed
from study.search.observations import ObservationPolicy, RecentObservations, TopAndRandomSample
from study.search.space import SHORTER_LIST

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
        """Return no domains: every value is suggested by itself, from the same point of the sequence."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return no values."""
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


POPULATION = 20
"""Points in a generation of NSGA-II: few enough that studies of a hundred trials have some generations."""


@dataclass(frozen=True)
class Stream:
    """Names a random stream; with the observations it determines what a sampler draws.

    A sampler made again with the study's seed alone would repeat its first suggestions after a resume. ``redraw``
    counts the draws of a point before this one, which had been run already; ``parameter`` is empty for what is drawn
    together.
    """

    spec: StudySpec
    trial: int
    point: int
    redraw: int = 0
    parameter: str = ""

    @property
    def seed(self) -> int:
        """The stream's seed, in [0, 2**32)."""
        again = ("again", self.redraw) if self.redraw else ()
        return stable_seed(self.spec.search.seed, "sampler", self.trial, self.parameter, *again) % 2**32


def tpe(stream: Stream) -> BaseSampler:
    """Make the tree-structured Parzen estimator (Bergstra et al. 2011).

    Points still running count as bad ones ("constant liar"), so that parallel suggestions spread.
    """
    return TPESampler(seed=stream.seed, constant_liar=True)


def random(stream: Stream) -> BaseSampler:
    """Make independent uniform sampling (Bergstra & Bengio 2012)."""
    return RandomSampler(seed=stream.seed)


def gp(stream: Stream) -> BaseSampler:
    """Make Bayesian optimisation with a Gaussian process and log expected improvement (Ament et al. 2023).

    Parameters that some points lack are drawn at random.
    """
    return GPSampler(seed=stream.seed, warn_independent_sampling=False)


def cmaes(stream: Stream) -> BaseSampler:
    """Make CMA-ES (Hansen 2016) for the numbers that every point has; choices and the others are drawn at random.

    It learns from points that ran to their end, a generation at a time; its state is with the point that began one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return CmaEsSampler(seed=stream.seed, warn_independent_sampling=False)


def qmc(stream: Stream) -> BaseSampler:
    """Make a scrambled Sobol sequence; a redraw takes the point's place in another scrambling."""
    seed = stable_seed(stream.spec.search.seed, "sobol", stream.redraw) % 2**32
    return SobolSampler(stream.spec.searched(), stream.point, seed)


def nsga2(stream: Stream) -> BaseSampler:
    """Make NSGA-II (Deb et al. 2002), for several objectives or one."""
    return NSGAIISampler(population_size=POPULATION, seed=stream.seed)


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler as a study file names it.

    Args:
        make: makes it for one random stream.
        observations: chooses which of the points that ended it is shown.
        redraws: how often a point that was run already is drawn again before one is drawn at random.
        keeps_attrs: whether it needs, at later points, what it stores of a point.
    """

    make: Callable[[Stream], BaseSampler]
    observations: Callable[[StudySpec], ObservationPolicy]
    redraws: int = 20
    keeps_attrs: bool = False


SAMPLERS: dict[str, SamplerEntry] = {
    "tpe": SamplerEntry(tpe, lambda spec: TopAndRandomSample(spec, best=50, others=200, pruned=True)),
    "random": SamplerEntry(random, lambda spec: RecentObservations(count=0)),
    # Its cost is cubic in the points shown; it has one best point, whatever the stream, and takes seconds to find it.
    "gp": SamplerEntry(gp, lambda spec: TopAndRandomSample(spec, best=30, others=70, pruned=False), redraws=3),
    "cmaes": SamplerEntry(cmaes, lambda spec: RecentObservations(count=500), keeps_attrs=True),
    "qmc": SamplerEntry(qmc, lambda spec: RecentObservations(count=0)),
    "nsga2": SamplerEntry(nsga2, lambda spec: RecentObservations(count=None), keeps_attrs=True),
}
"""To add a sampler, write its function above, its line here, and its name to ``SamplerName`` (search_config.py)."""
