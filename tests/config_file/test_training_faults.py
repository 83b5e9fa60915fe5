"""Every fault between the hyperparameters of a study file, and every metric it cannot choose by."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_section_faults import faults

from study.config.hyperparameters import DEPTHS, Scalar
from study.config.search_space import Choice, Condition, Parameter
from study.config_file import load_spec
from study.config_file.training_rules import drawn_together
from study.designs.space import is_active

HEAD = "name: x\nsearch: {trials: 1}\n"


def faults_in(folder: Path, body: str) -> list[str]:
    """Return the faults of a study with these lines from line 3 on."""
    return faults(folder, f"{HEAD}{body}\n")


def loads(folder: Path, body: str) -> None:
    path = folder / "study.yaml"
    path.write_text(f"{HEAD}{body}\n")
    load_spec(path)


@pytest.mark.parametrize(
    "body, expected",
    [
        ("trial: {optimizer: adamw, momentum: 0.9}", "3:27: trial.momentum belongs to sgd, but optimizer is always ad"),
        ("trial: {optimizer: rmsprop, momentum: 0.9}", "3:29: trial.momentum belongs to sgd, but optimizer is always "),
        ("trial: {nesterov: true}", "3:9: trial.nesterov belongs to sgd, but optimizer is always adam; remove it or "),
        (
            "trial: {optimizer: sgd, nesterov: true, momentum: 0}",
            "3:25: trial.nesterov needs a momentum > 0, but momentum is always 0; remove it or set momentum: 0.9",
        ),
        (
            "trial: {nesterov: true}\nspace: {optimizer: sgd, momentum: 0}",
            "3:9: trial.nesterov needs a momentum > 0, but momentum is always 0",
        ),
        (
            "space: {optimizer: sgd, nesterov: {choice: [true, false]}, momentum: {choice: [0.0]}}",
            "3:25: space.nesterov needs a momentum > 0, but momentum is always 0",
        ),
        (
            "trial: {milestones: [3, 5]}",
            "3:9: trial.milestones belongs to multistep, but schedule is always constant; ",
        ),
        ("trial: {gamma: 0.5, schedule: cosine}", "3:9: trial.gamma belongs to multistep, but schedule is always cosi"),
        (
            "trial: {head_width: 8}",
            "3:9: trial.head_width belongs to mlp, but head is always linear; remove it or set ",
        ),
        ("space: {focal_gamma: 3.0}", "3:9: space.focal_gamma belongs to focal, but loss is always cross_entropy; rem"),
        (
            "space: {head_width: {int: [8, 64]}}",
            "3:9: space.head_width belongs to mlp, but head is always linear; remo",
        ),
        (
            "space: {head_width: {int: [8, 64]}, head: {choice: [linear, mlp]}}",
            "3:9: space.head_width belongs to mlp, but would be searched for linear too; add when: {head: mlp}",
        ),
        (
            "trial: {momentum: 0.5}\nspace: {optimizer: {choice: [adam, adamw]}}",
            "3:9: trial.momentum belongs to sgd, but optimizer is always adam or adamw; remove it or",
        ),
    ],
)
def test_what_can_never_matter_is_refused(tmp_path: Path, body: str, expected: str) -> None:
    (fault,) = faults_in(tmp_path, body)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    "body",
    [
        "trial: {head_width: 1024, gamma: 0.1, milestones: [], nesterov: false}",
        "space: {head_width: 1024}",
        "space: {head_width: 8, head: {choice: [linear, mlp]}}",
        "trial: {head_width: 8}\nspace: {head: {choice: [linear, mlp]}}",
        "space: {head_width: {int: [8, 64], when: {head: mlp}}, head: {choice: [linear, mlp]}}",
        "trial: {optimizer: sgd, nesterov: true}",
        "trial: {optimizer: sgd, nesterov: true, momentum: 0.5}",
        "space: {optimizer: sgd, nesterov: true, momentum: {choice: [0.0, 0.9]}}",
        "trial: {schedule: multistep, milestones: [3, 5], gamma: 0.5}",
        "trial: {milestones: [3]}\nspace: {gamma: {choice: [0.1, 0.5], when: {schedule: multistep}},"
        " schedule: {choice: [multistep, cosine]}}",
    ],
)
def test_what_can_matter_is_allowed(tmp_path: Path, body: str) -> None:
    loads(tmp_path, body)


@pytest.mark.parametrize(
    "body, expected",
    [
        (
            "trial: {family: wide_resnet}",
            "3:9: trial.family wide_resnet comes in depth 50 only, but would be run with depth 18; set depth: 50",
        ),
        (
            "trial: {depth: 34, family: resnet_v2}",
            "3:20: trial.family resnet_v2 comes in depth 50, 101, 152 only, but would be run with depth 34; set depth",
        ),
        (
            "trial: {family: resnet_v2}\nspace: {depth: {choice: [18, 50]}}",
            "3:9: trial.family resnet_v2 comes in depth 50, 101, 152 only, but would be run with depth 18; remove the",
        ),
        (
            "space: {family: {choice: [resnet, wide_resnet]}, depth: {choice: [18, 50]}}",
            "3:9: space.family wide_resnet comes in depth 50 only, but would be run with depth 18; add when: "
            "{depth: 50} to space.family, which is resnet otherwise",
        ),
        (
            "space: {family: {choice: [resnet, resnet_v2]}, depth: {choice: [18, 50, 101]}}",
            "3:9: space.family resnet_v2 comes in depth 50, 101, 152 only, but would be run with depth 18; add when: "
            "{depth: [50, 101]}",
        ),
        (
            "space: {depth: {choice: [50], when: {family: resnet}}, family: {choice: [resnet, wide_resnet]}}",
            "3:56: space.family wide_resnet comes in depth 50 only, but would be run with depth 18; remove wide_resnet",
        ),
        (
            "space: {family: resnext, depth: {int: [101, 152], step: 51}}",
            "3:9: space.family resnext comes in depth 50 only, but would be run with depth 101, 152; set depth: 50",
        ),
    ],
)
def test_a_family_without_that_depth_is_refused(tmp_path: Path, body: str, expected: str) -> None:
    (fault,) = faults_in(tmp_path, body)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    "body",
    [
        "trial: {family: wide_resnet, depth: 50}",
        "space: {family: {choice: [wide_resnet, resnext, resnet_v2]}, depth: 50}",
        "space: {family: {choice: [resnet, wide_resnet], when: {depth: 50}}, depth: {choice: [18, 50]}}",
        "space: {family: {choice: [resnet, resnet_v2], when: {depth: [50, 101]}}, depth: {choice: [18, 50, 101]}}",
        "trial: {family: resnet_v2}\nspace: {depth: {int: [50, 101], step: 51}}",
        # both hang on the same parent, so that neither is ever drawn with the other's default
        "space: {init: {choice: [kaiming, xavier]}, family: {choice: [wide_resnet], when: {init: xavier}},"
        " depth: {choice: [50], when: {init: xavier}}}",
    ],
)
def test_a_family_in_its_own_depths_is_allowed(tmp_path: Path, body: str) -> None:
    loads(tmp_path, body)


def test_every_family_and_depth_is_judged_by_the_table(tmp_path: Path) -> None:
    for family, depth in itertools.product(DEPTHS, (10, 18, 34, 50, 101, 152)):
        body = f"trial: {{family: {family}, depth: {depth}}}"
        if depth in DEPTHS[family]:
            loads(tmp_path, body)
        else:
            assert faults_in(tmp_path, body)[0].startswith(f"3:9: trial.family {family} comes in depth")


@st.composite
def small_spaces(draw: st.DrawFn) -> tuple[Parameter, ...]:
    """Draw a space of up to six choices, each conditional on up to two before it."""
    space: list[Parameter] = []
    for name in draw(st.permutations(["family", "depth", "init", "head", "loss", "schedule"])):
        values = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True))
        asked = (
            draw(st.lists(st.sampled_from(space), max_size=2, unique_by=lambda parent: parent.name)) if space else []
        )
        when: list[Condition] = []
        for parent in asked:
            assert isinstance(parent.domain, Choice)
            wanted = draw(st.lists(st.sampled_from(parent.domain.values), min_size=1, unique=True))
            when.append(Condition(parameter=parent.name, values=tuple(wanted)))
        space.append(Parameter(name=name, domain=Choice(values=tuple(values)), when=tuple(when)))
    return tuple(space)


def choice(name: str, values: tuple[int, ...], **when: int) -> Parameter:
    conditions = tuple(Condition(parameter=parent, values=(value,)) for parent, value in when.items())
    return Parameter(name=name, domain=Choice(values=values), when=conditions)


@settings(deadline=None)
@example((choice("depth", (1, 2, 3)), choice("family", (1,), depth=1)))
@given(small_spaces())
def test_pairs_are_those_of_every_possible_trial(space: tuple[Parameter, ...]) -> None:
    domains: list[tuple[Scalar, ...]] = [
        parameter.domain.values for parameter in space if isinstance(parameter.domain, Choice)
    ]
    expected: set[Any] = set()
    for drawn in itertools.product(*domains):
        params: dict[str, Scalar] = {}
        for parameter, value in zip(space, drawn, strict=True):
            if is_active(parameter, params):
                params[parameter.name] = value
        expected.add((params.get("family", 0), params.get("depth", 0)))
    by_name = {parameter.name: parameter for parameter in space}
    assert set(drawn_together("family", "depth", by_name, {"family": 0, "depth": 0})) == expected


@pytest.mark.parametrize(
    "body, expected",
    [
        ("trial: {warmup_epochs: 10}", "3:24: trial.warmup_epochs must be < max_epochs = 10, got 10; shorten the warm"),
        (
            "space: {warmup_epochs: 3}\ntrial: {max_epochs: 2}",
            "3:24: space.warmup_epochs must be < max_epochs = 2, got",
        ),
        (
            "trial: {schedule: multistep}",
            "3:9: trial.schedule multistep needs trial.milestones, the epochs after which",
        ),
        ("space: {schedule: {choice: [cosine, multistep]}}", "3:9: space.schedule multistep needs trial.milestones"),
        (
            "trial: {schedule: multistep, milestones: [5, 3]}",
            "3:42: trial.milestones must ascend, got [5, 3]; write [3,",
        ),
        (
            "trial: {schedule: multistep, milestones: [3, 3]}",
            "3:42: trial.milestones must ascend, got [3, 3]; write [3]",
        ),
        (
            "trial: {schedule: multistep, milestones: [3, 5.0]}",
            "3:46: trial.milestones[1] must be a whole number >= 1, ",
        ),
        ("trial: {schedule: multistep, milestones: [0, 5]}", "3:43: trial.milestones[0] must be a whole number >= 1, "),
        (
            "trial: {schedule: multistep, milestones: 5}",
            "3:42: trial.milestones must be a list of whole numbers >= 1, g",
        ),
        ("space: {milestones: {choice: [[1, 2]]}}", "3:9: milestones is a list of whole numbers >= 1, which cannot be"),
        ("space: {milestones: 3}", "3:9: milestones is a list of whole numbers >= 1, which cannot be searched; give"),
        ("data: {shifted: {dark: 3}}", '3:24: data.shifted.dark must be text, got 3; put it in quotes: "3"'),
        ("data: {classes: [3]}", "3:17: data.classes must be a mapping from text to text, got [3]"),
    ],
)
def test_a_schedule_or_a_list_that_cannot_be(tmp_path: Path, body: str, expected: str) -> None:
    (fault,) = faults_in(tmp_path, body)
    assert fault.startswith(expected)


def test_a_warmup_that_may_fit_is_allowed(tmp_path: Path) -> None:
    loads(tmp_path, "trial: {warmup_epochs: 9.5}")
    loads(tmp_path, "trial: {warmup_epochs: 5}\nspace: {max_epochs: {choice: [4, 8]}}")
    loads(tmp_path, "trial: {schedule: multistep, milestones: [20]}")


def test_an_option_is_named_instead_of_a_place(tmp_path: Path) -> None:
    reported = faults(tmp_path, HEAD, ["trial.family=wide_resnet", "trial.gamma=0.5"])
    assert [line.split(";")[0] for line in reported] == [
        "--set trial.family=wide_resnet: trial.family wide_resnet comes in depth 50 only, but would be run with "
        "depth 18",
        "--set trial.gamma=0.5: trial.gamma belongs to multistep, but schedule is always constant",
    ]


def test_a_fault_in_the_space_does_not_cause_others(tmp_path: Path) -> None:
    body = "space: {depth: {choice: [51]}, family: {choice: [wide_resnet], when: {depth: 51}}}\n"
    (fault,) = faults_in(tmp_path, body)
    assert fault.startswith("3:26: space.depth.choice[0] must be one of")
