"""Make samplers; one registry entry per name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler

from study.ledger.sobol import SobolSampler
from study.ledger.tpe import QuickTPESampler
from study.spec import StudySpec, stable_seed

POPULATION = 20
"""Points in a generation of NSGA-II: few enough that studies of a hundred trials have some generations."""


@dataclass(frozen=True)
class Stream:
    """A random stream: what a value's draw depends on besides what the sampler is shown.

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
    return QuickTPESampler(seed=stream.seed, constant_liar=True)


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


SAMPLERS: dict[str, Callable[[Stream], BaseSampler]] = {
    "tpe": tpe,
    "random": random,
    "gp": gp,
    "cmaes": cmaes,
    "qmc": qmc,
    "nsga2": nsga2,
}
