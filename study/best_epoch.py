"""Which epoch of a trial is selected, and which of two values is better; pure.

Training, storage, samplers, reports and tracking all choose by these functions, so that they agree on ties and NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from study.config.search_config import Mode, Objective
from study.records import EpochMetrics


def is_better(value: float, than: float | None, mode: Mode) -> bool:
    """Whether ``value`` is strictly better; anything is better than None, any number better than NaN."""
    if than is None:
        return True
    if math.isnan(than):
        return not math.isnan(value)
    return value > than if mode == "max" else value < than


def best_epoch(curve: Iterable[tuple[int, float]], mode: Mode) -> tuple[int, float] | None:
    """Return the best epoch and its value, the earliest of equals; None where there is no epoch.

    Args:
        curve: epochs with their values, in order; of earlier epochs only the best need be there.
        mode: the better direction.
    """
    best: tuple[int, float] | None = None
    for epoch, value in curve:
        if is_better(value, None if best is None else best[1], mode):
            best = epoch, value
    return best


def selected_epoch(history: Sequence[EpochMetrics], objective: Objective) -> EpochMetrics | None:
    """Return the epoch of a trial that is best by an objective, whose checkpoint is kept."""
    values = (epoch.values[objective.metric] for epoch in history)
    best = best_epoch(enumerate(values), objective.mode)
    return None if best is None else history[best[0]]
