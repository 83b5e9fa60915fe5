"""Make Optuna's pruners; one registry entry per name."""

from __future__ import annotations

import math
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from study.spec import SearchSpec, StudySpec


class AsynchronousHalving(BasePruner):
    """ASHA (Li et al. 2020): of all trials that reached a rung, the best 1/reduction_factor go on.

    Rungs are the epochs min_epochs * reduction_factor ** k. It decides as Optuna's SuccessiveHalvingPruner does,
    but from the reported values alone and without marks of its own: a driver killed after such a mark and before
    the trial was told would find the rung passed and let the trial go on.
    """

    def __init__(self, min_epochs: int, reduction_factor: int) -> None:
        self._min_epochs = min_epochs
        self._reduction_factor = reduction_factor

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial must stop at the epoch it reported last."""
        epoch = trial.last_step
        if epoch is None or not self._is_rung(epoch):
            return False
        value = trial.intermediate_values[epoch]
        if math.isnan(value):
            return True
        others = (
            one.intermediate_values.get(epoch) for one in study.get_trials(deepcopy=False) if one.number != trial.number
        )
        reached = sorted([value, *(one for one in others if one is not None)])
        promoted = max(len(reached) // self._reduction_factor, 1)
        if study.direction is StudyDirection.MAXIMIZE:
            return value < reached[-promoted]
        return value > reached[promoted - 1]

    def _is_rung(self, epoch: int) -> bool:
        rung = self._min_epochs
        while rung < epoch:
            rung *= self._reduction_factor
        return rung == epoch


def asha(search: SearchSpec) -> BasePruner:
    """Make asynchronous successive halving."""
    return AsynchronousHalving(search.min_epochs, search.reduction_factor)


def median(search: SearchSpec) -> BasePruner:
    """Stop trials below the median of earlier trials at the same epoch (Golovin et al. 2017), after 5 whole ones.

    Optuna counts the steps before the first decision, and epochs count from 1.
    """
    return MedianPruner(n_startup_trials=5, n_warmup_steps=search.min_epochs)


def none(search: SearchSpec) -> BasePruner:
    """Let every trial run to its end."""
    return NopPruner()


PRUNERS: dict[str, Callable[[SearchSpec], BasePruner]] = {"asha": asha, "median": median, "none": none}


def build_pruner(spec: StudySpec) -> BasePruner:
    """Make the pruner a study asks for."""
    return PRUNERS[spec.pruner](spec.search)
