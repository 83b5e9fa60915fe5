"""Draw points of a space at random, each hyperparameter by its own distribution; starts no sampler."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, cast

from study.hyperparameters import Scalar
from study.space import suggest
from study.spec import Parameter, stable_seed

PATIENCE = 50
"""Draws in a row that bring nothing new, after which a finite space counts as used up."""


def draw_points(space: Sequence[Parameter], count: int, seed: int) -> list[dict[str, Scalar]]:
    """Draw different points; fewer where a space seems to have no more.

    Args:
        space: of a study.
        count: how many.
        seed: the same one gives the same points.
    """
    dice = _Dice(random.Random(stable_seed(seed, "plan")))
    found: dict[tuple[object, ...], dict[str, Scalar]] = {}
    in_vain = 0
    while len(found) < count and in_vain < PATIENCE:
        point = suggest(cast(Any, dice), space)
        before = len(found)
        found.setdefault(tuple(point.items()), point)
        in_vain = 0 if len(found) > before else in_vain + 1
    return list(found.values())


class _Dice:
    """What ``suggest`` asks of an Optuna trial."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        return self._dice.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if log:
            return min(high, max(low, round(self._from_log(low - 0.5, high + 0.5))))
        return self._dice.randrange(low, high + 1, step)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            return low + step * self._dice.randrange(round((high - low) / step) + 1)
        return self._from_log(low, high) if log else self._dice.uniform(low, high)

    def _from_log(self, low: float, high: float) -> float:
        return math.exp(self._dice.uniform(math.log(low), math.log(high)))
