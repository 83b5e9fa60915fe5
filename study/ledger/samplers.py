"""Make Optuna's samplers; one registry entry per name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from study.spec import SearchSpec, stable_seed


def tpe(seed: int) -> BaseSampler:
    """Make the tree-structured Parzen estimator (Bergstra et al. 2011).

    Trials still running count as bad ones ("constant liar"), so that parallel suggestions spread.
    """
    return TPESampler(seed=seed, constant_liar=True)


def random(seed: int) -> BaseSampler:
    """Make independent uniform sampling (Bergstra & Bengio 2012)."""
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": tpe, "random": random}


def build_sampler(search: SearchSpec, trial: int, parameter: str = "") -> BaseSampler:
    """Make the sampler for one value of one trial; its seed is a function of the study's seed, trial and parameter.

    A sampler made again with the study's seed alone would repeat its first suggestions after a resume.
    """
    return SAMPLERS[search.sampler](stable_seed(search.seed, "sampler", trial, parameter) % 2**32)


class SeededTrial(optuna.Trial):
    """A trial that draws every value from a random stream of its own.

    So a trial that a kill left with some of its values gets the others as it would have without.
    """

    def __init__(self, study: optuna.Study, trial_id: int, search: SearchSpec) -> None:
        super().__init__(study, trial_id)
        self._search = search

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
        self.study.sampler = build_sampler(self._search, self.number, name)
