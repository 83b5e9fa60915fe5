"""The Pareto front and its layers, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from study.analysis.pareto import dominates, may_be_on_front, pareto_layers
from study.analysis.statistics.influence import influence
from study.analysis.statistics.simultaneous import joint_errors, surely_behind
from study.analysis.verdict import compare_runs
from study.config.search_config import Mode

SMALL = st.integers(0, 4).map(float)  # few values, so that rows tie in one objective or in all


def brute_force(values: NDArray[np.float64], modes: tuple[Mode, ...]) -> list[int]:
    """Peel one front after the other, straight from the definition."""
    costs = [
        [-value if mode == "max" else value for value, mode in zip(row, modes, strict=True)] for row in values.tolist()
    ]

    def beats(a: list[float], b: list[float]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    layers, left, layer = [0] * len(costs), set(range(len(costs))), 0
    while left:
        layer += 1
        front = {row for row in left if not any(beats(costs[other], costs[row]) for other in left)}
        for row in front:
            layers[row] = layer
        left -= front
    return layers


def test_layers_of_a_case_by_hand() -> None:
    # accuracy (max), latency (min): a and b are the front, c equals b, d is behind b, e behind d.
    values = np.array([[0.9, 5.0], [0.8, 3.0], [0.8, 3.0], [0.7, 3.0], [0.7, 4.0]])
    assert pareto_layers(values, ("max", "min")).tolist() == [1, 1, 1, 2, 3]
    assert pareto_layers(values, ("min", "max")).tolist() == [1, 3, 3, 2, 1]


@pytest.mark.parametrize("modes", [("max",), ("max", "min"), ("min", "min", "max"), ("max", "min", "min", "max")])
@given(data=st.data())
def test_layers_are_those_of_brute_force(modes: tuple[Mode, ...], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*[SMALL] * len(modes)), max_size=25))
    values = np.array(rows).reshape(-1, len(modes))
    assert pareto_layers(values, modes).tolist() == brute_force(values, modes)


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)), min_size=1, max_size=15))
def test_any_numbers_are_layered_infinite_ones_too(rows: list[tuple[float, float]]) -> None:
    values = np.array(rows)
    assert pareto_layers(values, ("max", "min")).tolist() == brute_force(values, ("max", "min"))


@pytest.mark.parametrize("objectives", [2, 3])
def test_ten_thousand_rows_are_layered(objectives: int) -> None:
    values = np.random.default_rng(0).normal(size=(10_000, objectives))
    layers = pareto_layers(values, ("min",) * objectives)
    front = values[layers == 1]
    beaten = (values[:, None] >= front[None]).all(axis=2).any(axis=1)
    assert beaten.all(), "everything is on the front or behind a member of it"
    assert not any(dominates(front.T, row[:, None]).any() for row in front)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pareto_layers(np.array([[0.5, math.nan]]), ("max", "min"))
    with pytest.raises(ValueError, match=r"\[n, 2\]"):
        pareto_layers(np.zeros((4, 3)), ("max", "min"))


def test_what_may_be_on_the_front_by_hand() -> None:
    nobody, behind_first = np.zeros((3, 3), np.bool_), np.zeros((3, 3), np.bool_)
    behind_first[1:, 0] = True
    parameters = np.array([[5.0, 5.0, 1.0]])
    assert may_be_on_front([behind_first], parameters).tolist() == [True, False, True], "the third is smaller"
    assert may_be_on_front([behind_first, nobody], parameters).all(), "worse in one noisy objective only"
    assert may_be_on_front([behind_first, behind_first], np.empty((0, 3))).tolist() == [True, False, False]
    exact = np.array([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert may_be_on_front([], exact).tolist() == [True, False, True], "equal ones share the front"


def test_equal_configurations_leave_the_front_by_chance_in_few_studies() -> None:
    rng, studies, lost, found = np.random.default_rng(3), 150, 0, 0
    labels = np.arange(400) % 2
    configuration, seed = np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6)
    exact = np.zeros((1, 6))
    for _ in range(studies):
        shared = 0.8 * rng.standard_normal(400)
        lead = np.zeros(18)
        for place in (0.0, 2.0):
            lead[:3] = place
            scores = (1.5 + lead[:, None]) * (labels - 0.5) + shared + 0.6 * rng.standard_normal((18, 400))
            comparison = compare_runs("auc", influence("auc", scores, labels), configuration, seed)
            behind = surely_behind(comparison.runs.means, joint_errors(comparison.strict_model, 1000))
            may_be = may_be_on_front([behind], exact)
            if place:
                found += may_be.tolist() == [True, *[False] * 5]
            else:
                lost += not may_be[1]
    assert lost / studies <= 0.065
    assert found / studies >= 0.9, "a clear winner is alone on it"
