"""Make Optuna's samplers; one registry entry per name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from study.design import listed_points
from study.hyperparameters import Scalar
from study.space import SHORTER_LIST
from study.spec import StudySpec, stable_seed


def tpe(seed: int) -> BaseSampler:
    """Make the tree-structured Parzen estimator (Bergstra et al. 2011).

    Trials still running count as bad ones ("constant liar"), so that parallel suggestions spread.
    """
    return TPESampler(seed=seed, constant_liar=True)


def random(seed: int) -> BaseSampler:
    """Make independent uniform sampling (Bergstra & Bengio 2012)."""
    return RandomSampler(seed=seed)


class PointSampler(BaseSampler):
    """Suggest the values of one point that is known beforehand."""

    def __init__(self, point: Mapping[str, Scalar]) -> None:
        self._point = point

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Say that every value is suggested by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Suggest nothing together."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Suggest the point's value; a shorter list of choices has a longer name."""
        return self._point[param_name.partition(SHORTER_LIST)[0]]


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": tpe, "random": random}


def build_sampler(spec: StudySpec, trial: int, parameter: str = "") -> BaseSampler:
    """Make the sampler for one value of one trial; its seed is a function of the study's seed, trial and parameter.

    A sampler made again with the study's seed alone would repeat its first suggestions after a resume.
    """
    if (points := listed_points(spec)) is not None:
        return PointSampler(next(islice(points, trial, None)))
    return SAMPLERS[spec.search.sampler](stable_seed(spec.search.seed, "sampler", trial, parameter) % 2**32)


class SeededTrial(optuna.Trial):
    """A trial that draws every value from a random stream of its own.

    So a trial that a kill left with some of its values gets the others as it would have without.
    """

    def __init__(self, study: optuna.Study, trial_id: int, spec: StudySpec) -> None:
        super().__init__(study, trial_id)
        self._spec = spec
        # A grid is walked from its start to a point, so once for all values.
        self._of_point = build_sampler(spec, self.number) if spec.design.kind != "search" else None

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggest one of the choices."""
        self._seed(name)
        return super().suggest_categorical(name, choices)

    def suggest_float(self, name: str, *args: Any, **kwargs: Any) -> float:
        """Suggest a real number."""
        self._seed(name)
        return super().suggest_float(name, *args, **kwargs)

    def suggest_int(self, name: str, *args: Any, **kwargs: Any) -> int:
        """Suggest an integer."""
        self._seed(name)
        return super().suggest_int(name, *args, **kwargs)

    def _seed(self, name: str) -> None:
        self.study.sampler = self._of_point or build_sampler(self._spec, self.number, name)
