"""Every point of a finite space, each once."""

from __future__ import annotations

from typing import get_args

import pytest

from study.config.search_config import DesignKind
from study.config.search_space import Choice, Condition, Constant, Exclusion, Integer, Parameter, Uniform
from study.designs.grid import grid_points
from study.designs.points import DESIGNS

OPTIMIZER = Parameter(name="optimizer", domain=Choice(values=("sgd", "adam")))
MOMENTUM = Parameter(
    name="momentum",
    domain=Choice(values=(0.0, 0.9)),
    when=(Condition(parameter="optimizer", values=("sgd",)),),
)


def test_an_excluded_pair_is_no_point_and_constants_are_in_none() -> None:
    init = Parameter(
        name="init",
        domain=Choice(values=("kaiming", "imagenet")),
        excluded=(Exclusion(value="imagenet", beside=Condition(parameter="depth", values=(10,))),),
    )
    depth = Parameter(name="depth", domain=Choice(values=(10, 18)))
    fixed = Parameter(name="batch_size", domain=Constant(value=32))
    points = list(grid_points((depth, fixed, init)))
    assert points == [
        {"depth": 10, "init": "kaiming"},
        {"depth": 18, "init": "kaiming"},
        {"depth": 18, "init": "imagenet"},
    ]


def test_ranges_with_steps_are_listed_in_decimals_and_others_refused() -> None:
    stepped = Parameter(name="label_smoothing", domain=Uniform(low=0.0, high=0.3, step=0.1))
    epochs = Parameter(name="max_epochs", domain=Integer(low=1, high=6, step=2))
    assert [point["label_smoothing"] for point in grid_points((stepped,))] == [0.0, 0.1, 0.2, 0.3]
    assert [point["max_epochs"] for point in grid_points((epochs,))] == [1, 3, 5]
    with pytest.raises(ValueError, match="momentum is searched over a continuous range"):
        grid_points((Parameter(name="momentum", domain=Uniform(low=0.0, high=0.9)),))


def test_a_grid_that_no_memory_holds_is_walked_as_far_as_asked() -> None:
    epochs = Parameter(name="max_epochs", domain=Integer(low=1, high=10_000))
    smoothing = Parameter(name="label_smoothing", domain=Uniform(low=0.0, high=0.9, step=1e-9))
    points = grid_points((epochs, smoothing))
    assert [next(points) for _ in range(2)] == [
        {"max_epochs": 1, "label_smoothing": 0.0},
        {"max_epochs": 1, "label_smoothing": 1e-9},
    ]


def test_every_kind_of_design_but_the_search_is_registered() -> None:
    assert {"search", *DESIGNS} == set(get_args(DesignKind))
