"""Values that cannot be run leave the space, alone where they cannot and not where they can."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_fakes import DATA

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import SearchSpec
from study.config.search_space import Choice, Condition, Constant, Parameter, Uniform
from study.config.study_config import StudySpec
from study.paths import StudyLayout
from study.records import StopReason, TrialState
from study.search.space import admitted_values, forbid
from study.storage.study_storage import StudyStorage

INIT = Parameter(name="init", domain=Choice(values=("kaiming", "imagenet")))
DEPTH = Parameter(name="depth", domain=Choice(values=(10, 18)))
RATE = Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True))


def spec_of(*space: Parameter, **trial: object) -> StudySpec:
    return StudySpec(
        name="s",
        space=space,
        trial=Hyperparameters.model_validate(trial),
        search=SearchSpec(trials=40, sampler="random", seed=1),
    )


def names(spec: StudySpec) -> list[str]:
    return [parameter.name for parameter in spec.space]


def test_a_value_goes_only_beside_what_it_cannot_be_run_with(tmp_path: Path) -> None:
    spec = forbid(spec_of(INIT, DEPTH, RATE), "init", "imagenet", "depth", [10])
    layout = StudyLayout(tmp_path)
    storage, pairs = StudyStorage.create(layout, spec, "", data=DATA), set()
    while (assignment := storage.ask()) is not None:
        pairs.add((assignment.config.init, assignment.config.depth))
        assert set(assignment.record.params) == {"init", "depth", "learning_rate"}
        storage.tell(assignment.trial, TrialState.FAILED, StopReason.ERROR)
    assert pairs == {("kaiming", 10), ("kaiming", 18), ("imagenet", 18)}
    assert StudyStorage.open(layout).spec == spec


def test_the_space_is_put_in_an_order_that_knows_the_partner_first() -> None:
    spec = forbid(spec_of(INIT, DEPTH, RATE), "init", "imagenet", "depth", [10])
    assert names(spec) == ["depth", "init", "learning_rate"]
    assert names(forbid(spec_of(RATE, DEPTH, INIT), "init", "imagenet", "depth", [10])) == [
        "learning_rate",
        "depth",
        "init",
    ]


def test_a_value_that_no_partner_admits_goes_altogether() -> None:
    spec = forbid(spec_of(INIT, DEPTH), "init", "imagenet", "depth", [10, 18])
    assert spec.space == (Parameter(name="init", domain=Choice(values=("kaiming",))), DEPTH)


def test_a_fixed_partner_decides_alone() -> None:
    assert forbid(spec_of(INIT, depth=10), "init", "imagenet", "depth", [10]).space[0].domain == Choice(
        values=("kaiming",)
    )
    kept = forbid(spec_of(INIT, depth=18), "init", "imagenet", "depth", [10])
    assert [parameter.domain for parameter in kept.space] == [INIT.domain]


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(Parameter(name="init", domain=Choice(values=("imagenet",))), DEPTH),
        spec_of(DEPTH, init="imagenet", depth=18),
        spec_of(Parameter(name="init", domain=Constant(value="imagenet"))),
    ],
)
@pytest.mark.parametrize("beside", [[10, 18], [10]])
def test_nothing_left_is_an_error(spec: StudySpec, beside: list[int]) -> None:
    partners = admitted_values(spec, "depth")
    if not set(partners) <= set(beside) and isinstance(spec.space[0].domain, Constant):
        return
    with pytest.raises(ValueError, match="must keep"):
        forbid(spec, "init", "imagenet", "depth", beside)


def test_a_partner_that_hangs_on_the_value_cannot_be_known_first() -> None:
    depth = DEPTH.model_copy(update={"when": (Condition(parameter="init", values=("imagenet", "kaiming")),)})
    spec = forbid(spec_of(INIT, depth, depth=18), "init", "imagenet", "depth", [10])
    assert spec.space[0].domain == Choice(values=("kaiming",))


def test_a_parameter_that_some_trials_lack_admits_its_fixed_value_too() -> None:
    depth = DEPTH.model_copy(update={"when": (Condition(parameter="init", values=("kaiming",)),)})
    assert admitted_values(spec_of(INIT, depth, depth=34), "depth") == (10, 18, 34)
    assert admitted_values(spec_of(INIT, depth, depth=18), "depth") == (10, 18)


def test_a_continuous_range_has_no_list_of_values() -> None:
    with pytest.raises(ValueError, match="continuous"):
        admitted_values(spec_of(RATE), "learning_rate")
