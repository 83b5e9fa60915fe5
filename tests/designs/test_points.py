"""The points of a grid and of one factor at a time, counted without being made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from commands import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config.hyperparameters import Scalar
from study.config.search_config import BudgetSpec, DesignSpec, ReplicatesSpec, SearchSpec
from study.config.search_space import (
    Choice,
    Condition,
    Constant,
    Domain,
    Exclusion,
    Integer,
    Parameter,
    Uniform,
    same_value,
)
from study.config.study_config import StudySpec
from study.config_file import load_spec
from study.designs import count_points, design_notes, listed_points, planned_trials, trials_in_words
from study.designs.grid import count_grid, grid_points
from study.designs.space import is_active, values_of
from study.errors import DesignError

Space = tuple[Parameter, ...]
DOMAINS: tuple[Domain, ...] = (
    Choice(values=("a", "b", "c")),
    Choice(values=(True, False)),
    Choice(values=(0, 1)),
    Choice(values=(0.0, 0.5)),
    Choice(values=("only",)),
    Integer(low=1, high=7, step=2),
    Uniform(low=0.0, high=0.5, step=0.2),
    Constant(value="a"),
)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a space whose parameters may hang on earlier ones, as conditions or exclusions."""
    space: list[Parameter] = []
    for at in range(draw(st.integers(1, 4))):
        domain = draw(st.sampled_from(DOMAINS))
        parents = [parameter for parameter in space if not isinstance(parameter.domain, Uniform)]
        when = tuple(draw(conditions(parameter)) for parameter in parents if draw(st.integers(0, 2)) == 0)
        if isinstance(domain, Constant):  # a plain value in a study file, which has no `when`
            when = ()
        excluded = ()
        if isinstance(domain, Choice) and parents and draw(st.booleans()):
            beside = draw(conditions(draw(st.sampled_from(parents))))
            excluded = (Exclusion(value=draw(st.sampled_from(domain.values)), beside=beside),)
        space.append(Parameter(name=f"p{at}", domain=domain, when=when, excluded=excluded))
    return tuple(space)


def conditions(parent: Parameter) -> st.SearchStrategy[Condition]:
    values = st.lists(st.sampled_from(list(values_of(parent.domain))), min_size=1, max_size=2, unique=True)
    return values.map(lambda some: Condition(parameter=parent.name, values=tuple(some)))


def comparable(point: Mapping[str, Scalar]) -> tuple[Any, ...]:
    """Tell true from 1, which Python calls equal."""
    return tuple((name, isinstance(value, bool), value) for name, value in point.items())


def combinations_by_hand(space: Space) -> set[tuple[Any, ...]]:
    """Take every value of everything, then leave out what does not exist beside the others."""
    points = set()
    for values in product(*(values_of(parameter.domain) for parameter in space)):
        known: dict[str, Scalar] = {}
        for parameter, value in zip(space, values, strict=True):
            if is_active(parameter, known):
                known[parameter.name] = value
        if not any(is_excluded(parameter, known) for parameter in space):
            points.add(
                comparable({parameter.name: known[parameter.name] for parameter in space if is_in(parameter, known)})
            )
    return points


def is_in(parameter: Parameter, known: Mapping[str, Scalar]) -> bool:
    return parameter.name in known and not isinstance(parameter.domain, Constant)


def is_excluded(parameter: Parameter, known: Mapping[str, Scalar]) -> bool:
    def holds(item: Exclusion) -> bool:
        beside = item.beside
        is_it = parameter.name in known and same_value(known[parameter.name], item.value)
        return is_it and beside.parameter in known and beside.holds(known[beside.parameter])

    return any(holds(item) for item in parameter.excluded)


@settings(deadline=None, max_examples=100)
@given(spaces())
def test_a_grid_is_every_combination_once_and_counted_without_being_made(space: Space) -> None:
    points = Counter(comparable(point) for point in grid_points(space))
    assert set(points) == combinations_by_hand(space)
    assert set(points.values()) <= {1}
    assert count_grid(space) == len(points)


def test_a_grid_of_any_size_is_counted() -> None:
    epochs = Parameter(name="max_epochs", domain=Integer(low=1, high=10_000))
    smoothing = Parameter(
        name="label_smoothing",
        domain=Uniform(low=0.0, high=0.9, step=1e-9),
        when=(Condition(parameter="max_epochs", values=(1, 5)),),
    )
    batch = Parameter(name="batch_size", domain=Integer(low=1, high=65_536))
    assert count_grid((epochs, smoothing)) == 2 * 900_000_001 + 9_998
    assert count_grid((epochs, batch, smoothing)) == 65_536 * (2 * 900_000_001 + 9_998)
    assert count_grid((epochs, Parameter(name="gamma", domain=Uniform(low=0.1, high=0.9)))) is None


@settings(deadline=None, max_examples=100)
@given(spaces(), st.data())
def test_one_factor_varies_each_factor_of_the_baseline_alone(space: Space, data: st.DataObject) -> None:
    space = tuple(parameter.model_copy(update={"excluded": ()}) for parameter in space)
    searched = [parameter for parameter in space if not isinstance(parameter.domain, Constant)]
    baseline = {parameter.name: data.draw(st.sampled_from(list(values_of(parameter.domain)))) for parameter in searched}
    spec = make(space, DesignSpec(kind="one_factor", baseline=baseline))
    if not searched:
        with pytest.raises(DesignError, match="searches nothing"):
            listed_points(spec)
        return
    listed = listed_points(spec)
    assert listed is not None
    points = [dict(point) for point in listed]
    assert count_points(spec) == len(points) == len({comparable(point) for point in points})
    first, *others = points
    for point in points:
        known = {
            **{parameter.name: parameter.domain.value for parameter in space if isinstance(parameter.domain, Constant)},
            **point,
        }
        assert set(point) == {parameter.name for parameter in searched if is_active(parameter, known)}
    changes = Counter(
        (name, isinstance(value, bool), value)
        for point in others
        for name, value in point.items()
        if comparable({"x": value}) != comparable({"x": baseline[name]})
    )
    wanted = {
        (parameter.name, isinstance(value, bool), value)
        for parameter in searched
        for value in values_of(parameter.domain)
        if parameter.name in first and comparable({"x": value}) != comparable({"x": baseline[parameter.name]})
    }
    assert changes == Counter(wanted)
    assert len(others) == len(wanted)
    assert comparable(first) == comparable({name: baseline[name] for name in first})


OPTIMIZER = Parameter(name="optimizer", domain=Choice(values=("adam", "sgd")))
MOMENTUM = Parameter(
    name="momentum", domain=Choice(values=(0.0, 0.9)), when=(Condition(parameter="optimizer", values=("sgd",)),)
)
DEPTH = Parameter(name="depth", domain=Choice(values=(10, 18, 34)))
INIT = Parameter(
    name="init",
    domain=Choice(values=("kaiming", "imagenet")),
    excluded=(Exclusion(value="imagenet", beside=Condition(parameter="depth", values=(10,))),),
)


def make(space: Space, design: DesignSpec, **changed: Any) -> StudySpec:
    return StudySpec(name="x", space=space, design=design, **changed)


def test_a_factor_that_is_not_at_the_baseline_is_named_and_used_where_another_brings_it_in() -> None:
    baseline: dict[str, Scalar] = {"optimizer": "adam", "depth": 18, "momentum": 0}
    spec = make((OPTIMIZER, MOMENTUM, DEPTH), DesignSpec(kind="one_factor", baseline=baseline))
    assert list(listed_points(spec) or ()) == [
        {"optimizer": "adam", "depth": 18},
        {"optimizer": "sgd", "momentum": 0.0, "depth": 18},
        {"optimizer": "adam", "depth": 10},
        {"optimizer": "adam", "depth": 34},
    ]
    assert design_notes(spec) == ("momentum is not varied: it does not exist at the baseline",)


def test_a_change_that_cannot_be_run_is_left_out_and_named_but_not_the_baseline() -> None:
    design = DesignSpec(kind="one_factor", baseline={"depth": 18, "init": "imagenet"})
    spec = make((DEPTH, INIT), design)
    assert list(listed_points(spec) or ()) == [
        {"depth": 18, "init": "imagenet"},
        {"depth": 34, "init": "imagenet"},
        {"depth": 18, "init": "kaiming"},
    ]
    assert count_points(spec) == planned_trials(spec) == 3
    assert design_notes(spec) == ("depth=10, init=imagenet is left out: its init cannot be run beside the others",)
    beside = make((DEPTH, INIT), DesignSpec(kind="one_factor", baseline={"depth": 10, "init": "imagenet"}))
    with pytest.raises(DesignError, match=r"baseline\.init=imagenet cannot be run beside depth=10; choose another"):
        planned_trials(beside)


def test_a_baseline_whose_value_was_taken_out_is_refused_but_not_one_whose_parameter_was() -> None:
    design = DesignSpec(kind="one_factor", baseline={"depth": 18, "init": "imagenet"})
    left = Parameter(name="init", domain=Choice(values=("kaiming",)))
    with pytest.raises(DesignError, match=r"baseline\.init must be one of kaiming, as in space, got imagenet"):
        listed_points(make((DEPTH, left), design))
    assert count_points(make((DEPTH,), design)) == 3


def test_a_space_without_any_point_left_is_refused() -> None:
    only = INIT.model_copy(update={"domain": Choice(values=("imagenet",))})
    depth = Parameter(name="depth", domain=Choice(values=(10,)))
    for kind in ("grid", "search"):
        with pytest.raises(DesignError, match="the space has no point that can be run"):
            planned_trials(make((depth, only), DesignSpec(kind=kind)))


@pytest.mark.parametrize(
    "changed, planned, words, said",
    [
        ({}, 3, "3 of 16 trials (3 points)", "the space has 3 points, and none is run twice: at most 3 of 16 trials "),
        ({"search": SearchSpec(trials=2)}, 2, "2 trials", None),
        ({"replicates": ReplicatesSpec(count=2), "search": SearchSpec(trials=5)}, 5, "5 trials (2 seeds a point)", "the"
         " last point is run with 1 of 2 seeds, as 5 trials are no multiple of 2"),
        ({"replicates": ReplicatesSpec(count=6), "budget": BudgetSpec(trials=9)}, 9, "9 of 16 trials (6 seeds a point)",
         "the last point is run with 3 of 6 seeds, as 9 trials are no multiple of 6"),
        ({"design": DesignSpec(kind="grid")}, 3, "3 trials (3 points)", None),
        ({"design": DesignSpec(kind="grid"), "replicates": ReplicatesSpec(seeds=(4, 7))}, 6,
         "6 trials (3 points x 2 seeds)", None),
        ({"design": DesignSpec(kind="grid"), "replicates": ReplicatesSpec(seeds=(4, 7)),
          "budget": BudgetSpec(trials=4)}, 4, "4 of 6 trials (3 points x 2 seeds)",
         "seed 7 is run for the first 1 of 3 points"),
    ],
)  # fmt: skip
def test_the_number_of_trials_and_why(changed: dict[str, Any], planned: int, words: str, said: str | None) -> None:
    spec = make((DEPTH,), DesignSpec()).model_copy(update=changed)
    assert planned_trials(spec) == planned
    assert trials_in_words(spec) == words
    assert [line for line in design_notes(spec) if said is not None and line.startswith(said)] == [*design_notes(spec)][
        -1:
    ]


def test_a_continuous_space_is_searched_as_long_as_asked() -> None:
    spec = make((Parameter(name="gamma", domain=Uniform(low=0.1, high=0.9)),), DesignSpec())
    assert (planned_trials(spec), count_points(spec), listed_points(spec), design_notes(spec)) == (16, None, None, ())


def test_the_shipped_table_has_a_baseline_and_one_change_a_row() -> None:
    spec = load_spec(ROOT / "search_spaces" / "one_factor.yaml").spec
    first, *others = list(listed_points(spec) or ())
    assert trials_in_words(spec) == "24 trials (8 points x 3 seeds)"
    assert first == {name: value for name, value in spec.design.baseline.items() if name != "momentum"}
    changed = [[name for name in first if point[name] != first[name]] for point in others]
    assert [len(names) for names in changed] == [1] * 7
    assert spec.pruner == "none"
