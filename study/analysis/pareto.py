"""Pareto layers and the test of dominance, for ranking by several objectives; pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from study.config.search_config import Mode


def dominates(costs: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which candidates are nowhere worse and somewhere better than others.

    Args:
        costs: [k, n], the lower the better, a column per candidate; n may be 1 to compare one with many.
        others: [k, m], with m as n or 1.
    """
    return np.asarray((costs <= others).all(axis=0) & (costs < others).any(axis=0))


def may_be_on_front(behind: Sequence[NDArray[np.bool_]], exact: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return [n], whether each candidate may be on the Pareto front.

    One leaves it only if another is surely better in every noisy objective and no worse in exact ones; without noisy
    ones, if another dominates it.

    Args:
        behind: per noisy objective [n, n], whether the first is surely worse than the second.
        exact: [k, n], the values of exact objectives, the lower the better; k may be 0.
    """
    size = exact.shape[1]
    if not behind:
        return np.array([not dominates(exact, exact[:, [at]]).any() for at in range(size)], dtype=np.bool_)
    beaten = np.logical_and.reduce(list(behind))  # [n, n]
    no_worse = (exact[:, None, :] <= exact[:, :, None]).all(axis=0)  # [n, n], the second than the first
    return np.asarray(~(beaten & no_worse).any(axis=1), dtype=np.bool_)


def pareto_layers(values: NDArray[np.float64], modes: Sequence[Mode]) -> NDArray[np.int64]:
    """Number the layers: 1 is the Pareto front, 2 the front of what is left without it, and so on.

    Equal rows share a layer.
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
    costs = np.ascontiguousarray(points.T)  # [n, k] -> [k, n]
    for at in range(1, len(points)):
        dominating = dominates(costs[:, :at], costs[:, at : at + 1])  # [at]
        layers[at] = 1 + layers[:at].max(where=dominating, initial=0)
    return layers
