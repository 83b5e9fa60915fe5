"""Rank by several objectives at once, by who is dominated by whom; pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from study.analysis.ranking import RankedRow, is_candidate
from study.config.search_config import Mode, Objective
from study.records import TrialRecord


def pareto_front(values: NDArray[np.float64], modes: Sequence[Mode]) -> NDArray[np.int64]:
    """Sort into layers: 1 is the Pareto front, 2 the front of what is left without it, and so on.

    One row dominates another if it is nowhere worse and somewhere better; equal rows share a layer.
    Takes O(n log n) for two objectives and O(n^2 k) for more.

    Args:
        values: [n, k], one row per candidate, without NaN; infinity is allowed.
        modes: the better direction of each of the k objectives.

    Returns:
        [n] the layer of every row.

    Raises:
        ValueError: the shapes differ, or a value is NaN.

    Source: non-dominated sorting of Deb et al. 2002 (NSGA-II); for two objectives the sweep of Jensen 2003.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(modes) or not modes:
        raise ValueError(f"values must be [n, {len(modes)}], one column per mode, got shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError("values must be numbers to be compared, got NaN")
    costs = values * np.where(np.array(modes) == "max", -1.0, 1.0)
    points, place = np.unique(costs, axis=0, return_inverse=True)  # [n, k] -> [u, k], sorted: no row beats an earlier
    layers = _sweep(points[:, 1]) if len(modes) == 2 else _chains(points)
    return np.array(layers[place.reshape(-1)], dtype=np.int64)


def rank_by_front(records: Iterable[TrialRecord], objectives: Sequence[Objective]) -> list[RankedRow]:
    """Rank trials by layers of the front, then by the first objective; ``value`` is that of the first.

    Trials without a checkpoint or one of the metrics come last, without a rank.
    """
    placed: list[TrialRecord] = []
    others: list[TrialRecord] = []
    for record in records:
        (placed if all(is_candidate(record, objective.metric) for objective in objectives) else others).append(record)
    first = objectives[0]
    values = np.array([[one.metrics[objective.metric] for objective in objectives] for one in placed]).reshape(
        -1, len(objectives)
    )
    layers = pareto_front(values, [objective.mode for objective in objectives])
    rows = [
        RankedRow(layer, one.metrics[first.metric], one) for layer, one in zip(layers.tolist(), placed, strict=True)
    ]
    sign = -1 if first.mode == "max" else 1
    rows.sort(key=lambda row: (row.rank, sign * (row.value or 0.0), row.record.trial))
    rest = sorted(others, key=lambda one: one.trial)
    return rows + [RankedRow(None, one.metrics.get(first.metric), one) for one in rest]


def _sweep(second: NDArray[np.float64]) -> NDArray[np.int64]:
    """Layer distinct points that come by the first cost: a layer dominates what is not below its lowest second cost."""
    layers = np.empty(len(second), dtype=np.int64)
    lowest: list[float] = []  # per layer; never falls from one layer to the next
    for at, cost in enumerate(second.tolist()):
        layer = bisect_right(lowest, cost)
        lowest[layer : layer + 1] = [cost]
        layers[at] = layer + 1
    return layers


def _chains(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Layer distinct points in lexicographic order: one more than the deepest of those that dominate each."""
    layers = np.ones(len(points), dtype=np.int64)
    costs = np.ascontiguousarray(points[:, 1:].T)  # [n, k] -> [k - 1, n]; in the first cost they come in order
    for at in range(1, len(points)):
        dominating = (costs[:, :at] <= costs[:, at : at + 1]).all(axis=0)  # [at]
        layers[at] = 1 + layers[:at].max(where=dominating, initial=0)
    return layers
