"""The Pareto front and its layers, against brute force."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ranking_kit import R, record

from study.analysis.pareto import pareto_front, rank_by_front
from study.config.search_config import Mode, Objective

SMALL = st.integers(0, 4).map(float)  # few values, so that rows tie in one objective or in all


def brute_force(values: NDArray[np.float64], modes: tuple[Mode, ...]) -> list[int]:
    """Peel one front after the other, straight from the definition."""
    costs = [[-one if mode == "max" else one for one, mode in zip(row, modes, strict=True)] for row in values.tolist()]

    def dominates(a: list[float], b: list[float]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    layers, left, layer = [0] * len(costs), set(range(len(costs))), 0
    while left:
        layer += 1
        front = {one for one in left if not any(dominates(costs[other], costs[one]) for other in left)}
        for one in front:
            layers[one] = layer
        left -= front
    return layers


def test_layers_of_a_case_by_hand() -> None:
    # accuracy (max), latency (min): a and b are the front, c equals b, d is behind b, e behind d.
    values = np.array([[0.9, 5.0], [0.8, 3.0], [0.8, 3.0], [0.7, 3.0], [0.7, 4.0]])
    assert pareto_front(values, ("max", "min")).tolist() == [1, 1, 1, 2, 3]
    assert pareto_front(values, ("min", "max")).tolist() == [1, 3, 3, 2, 1]


@pytest.mark.parametrize("modes", [("max",), ("max", "min"), ("min", "min", "max"), ("max", "min", "min", "max")])
@given(data=st.data())
def test_layers_are_those_of_brute_force(modes: tuple[Mode, ...], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*[SMALL] * len(modes)), max_size=25))
    values = np.array(rows).reshape(-1, len(modes))
    assert pareto_front(values, modes).tolist() == brute_force(values, modes)


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)), min_size=1, max_size=15))
def test_any_numbers_are_layered_infinite_ones_too(rows: list[tuple[float, float]]) -> None:
    values = np.array(rows)
    assert pareto_front(values, ("max", "min")).tolist() == brute_force(values, ("max", "min"))


@pytest.mark.parametrize("objectives, most_s", [(2, 1.0), (3, 5.0)])
def test_ten_thousand_rows_are_layered_soon(objectives: int, most_s: float) -> None:
    values = np.random.default_rng(0).normal(size=(10_000, objectives))
    began = time.process_time()
    layers = pareto_front(values, ("min",) * objectives)
    assert time.process_time() - began < most_s
    front = values[layers == 1]
    beaten = (values[:, None] >= front[None]).all(axis=2).any(axis=1)
    assert beaten.all(), "everything is on the front or behind a member of it"
    assert not any(((front <= one).all(axis=1) & (front < one).any(axis=1)).any() for one in front)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pareto_front(np.array([[0.5, math.nan]]), ("max", "min"))
    with pytest.raises(ValueError, match=r"\[n, 2\]"):
        pareto_front(np.zeros((4, 3)), ("max", "min"))


def test_trials_go_by_layer_then_by_the_first_objective() -> None:
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="latency_ms", mode="min"))
    values = [(0.8, 3.0), (0.9, 5.0), (0.7, 4.0), (0.8, 3.0)]
    records = [record(at, {"val_auc": auc, "latency_ms": ms}) for at, (auc, ms) in enumerate(values)]
    records += [record(4, {"val_auc": 0.99}), record(5, {"val_auc": 0.99, "latency_ms": 1.0}, R)]
    records += [record(6, {"val_auc": 0.99, "latency_ms": math.nan})]
    rows = rank_by_front(records, objectives)
    expected = [(1, 1), (0, 1), (3, 1), (2, 2), (4, None), (5, None), (6, None)]
    assert [(row.record.trial, row.rank) for row in rows] == expected
    assert rows[0].value == 0.9
    assert rank_by_front([], objectives) == []
