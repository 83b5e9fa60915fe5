"""Every fault of a design, at its exact place, and what a sound one is read as."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_section_faults import faults
from test_study_files import load

from study.config.search_config import DesignSpec
from study.config.study_config import StudySpec
from study.designs import listed_points, planned_trials

LISTED = """\
name: x
space:
  depth: {choice: [10, 18]}
  optimizer: {choice: [adam, sgd]}
  momentum: {choice: [0.0, 0.9], when: {optimizer: sgd}}
"""
ENDS = """\
name: x
space:
  depth: {choice: [10, 18]}
  optimizer: {choice: [adam, adamw]}
  learning_rate: {loguniform: [0.001, 0.1]}
  batch_size: {int: [16, 64], step: 16}
"""


def single_fault(folder: Path, text: str) -> str:
    (fault,) = faults(folder, text)
    return fault


@pytest.mark.parametrize(
    "design, expected",
    [
        (
            "girid",
            '6:9: design.kind must be one of search, grid, one_factor, factorial, points, got "girid"; did you mean',
        ),
        ("[grid]", '6:9: design must be a mapping such as {kind: ...}, got ["grid"]'),
        ("{knd: grid}", "6:10: unknown key `knd` in design; did you mean `kind`? Known: kind, baseline, resolution, f"),
        (
            "{kind: grid, baseline: {depth: 10}}",
            "6:22: design.baseline belongs to design one_factor, but design.kind i",
        ),
        ("{kind: grid, resolution: 3}", "6:22: design.resolution belongs to design factorial, but design.kind is grid"),
        ("{kind: grid, fraction: plackett_burman}", "6:22: design.fraction belongs to design factorial, but design.ki"),
        (
            "{resolution: 3}",
            "6:10: design.resolution belongs to design factorial, but design.kind is search; remove it",
        ),
        ("{kind: factorial, fraction: plackett_burman}", "6:27: design.fraction needs a resolution, without which ev"),
        (
            "{kind: factorial, fraction: plackett_burman, resolution: 4}",
            "6:54: design.resolution must be 3 for plackett_burman, got 4; leave fraction out for more",
        ),
        ("{kind: factorial, resolution: 2}", "6:39: design.resolution must be a whole number >= 3 and <= 10, got 2"),
        (
            "{kind: factorial, resolution: 3}",
            "5:3: a fraction needs every factor in every point, but space.momentum has a `when`; remove it, or remove ",
        ),
        (
            "one_factor",
            "6:9: design.baseline must give a value of depth (one of 10 or 18) and optimizer (one of adam or sgd)",
        ),
        ("{kind: one_factor, baseline: [1]}", "6:38: design.baseline must be a mapping from text to true or false or "),
        (
            "{kind: one_factor, baseline: {depth: 10, optimizer: adam}}",
            "6:28: design.baseline must give a value of momentum too, as it exists beside optimizer=sgd; one of 0.0 or",
        ),
        (
            "{kind: one_factor, baseline: {depth: 12, optimizer: adam, momentum: 0}}",
            "6:46: design.baseline.depth must be one of 10 or 18, as in space, got 12",
        ),
        (
            "{kind: one_factor, baseline: {depth: 10, optimizer: adam, momentum: false}}",
            "6:77: design.baseline.momentum must be one of 0.0 or 0.9, as in space, got false",
        ),
        (
            "{kind: one_factor, baseline: {depth: 10, optimizer: adam, momentum: 0, dept: 10}}",
            "6:80: design.baseline.dept is not searched; did you mean `depth`? Searched: depth, optimizer, momentum",
        ),
        (
            "{kind: one_factor, baseline: {depth: 10, optimizer: adam, momentum: 0, batch_size: 8}}",
            "6:80: design.baseline.batch_size is not searched. Searched: depth, optimizer, momentum",
        ),
        (
            "grid\nsearch: {trials: 3}",
            "7:10: search.trials belongs to design search, but design.kind is grid, which lists its points; remove it,",
        ),
        (
            "grid\nwarm_start: [y]",
            "7:1: warm_start belongs to design search, but design.kind is grid, which lists its ",
        ),
        (
            "grid\nsearch: {pruner: asha, min_epochs: 11}",
            "7:36: search.min_epochs must be <= max_epochs = 10 for pruner asha to ever act, got 11",
        ),
    ],
)
def test_single_fault_of_a_design(tmp_path: Path, design: str, expected: str) -> None:
    assert single_fault(tmp_path, f"{LISTED}design: {design}\n").startswith(expected)


@pytest.mark.parametrize(
    "design, expected",
    [
        (
            "grid",
            ["5:3: design grid needs listed values, but space.learning_rate is a continuous range; use choice, int"],
        ),
        (
            "factorial",
            ["5:3: design factorial needs listed values, but space.learning_rate is a continuous range; use "],
        ),
        (
            "{kind: one_factor, baseline: {depth: 9}}",
            [
                "5:3: design one_factor needs listed values, but space.learning_rate is a continuous range; use choice",
                "7:46: design.baseline.depth must be one of 10 or 18, as in space, got 9",
            ],
        ),
        (
            "{kind: factorial, resolution: 5}",
            [
                "7:39: design.resolution must be <= the number of factors = 4, got 5; use 3 or 4, or remove it to run",
            ],
        ),
    ],
)
def test_faults_with_ranges(tmp_path: Path, design: str, expected: list[str]) -> None:
    reported = faults(tmp_path, f"{ENDS}design: {design}\n")
    assert len(reported) == len(expected)
    assert all(line.startswith(start) for line, start in zip(reported, expected, strict=True)), reported


def test_a_fraction_takes_two_values_and_as_many_factors_as_its_resolution(tmp_path: Path) -> None:
    three = ENDS.replace("[adam, adamw]", "[adam, adamw, sgd]")
    assert single_fault(tmp_path, f"{three}design: {{kind: factorial, resolution: 4}}\n").startswith(
        "4:3: a fraction takes two values of each factor, but space.optimizer has 3; keep two, give it as a constant"
    )
    two = "name: x\nspace: {depth: {choice: [10, 18]}, nesterov: {choice: [true, false]}, optimizer: sgd}\n"
    assert single_fault(tmp_path, f"{two}design: {{kind: factorial, resolution: 3}}\n") == (
        "3:39: design.resolution must be <= the number of factors = 2, got 3; "
        "remove it to run all combinations of 2 factors"
    )


@pytest.mark.parametrize(
    "design, points",
    [
        ("grid", 10_000 * 65_535),
        ("{kind: one_factor, baseline: {max_epochs: 3, batch_size: 8, warmup_epochs: 0}}", 900_000_000 + 75_534),
    ],
)
def test_too_many_points_are_refused_without_making_them(tmp_path: Path, design: str, points: int) -> None:
    text = "name: x\nspace:\n  max_epochs: {int: [1, 10000]}\n  batch_size: {int: [2, 65536]}\n"
    if "warmup" in design:
        text += "  warmup_epochs: {uniform: [0, 0.9], step: 1e-9}\n"
    kind = design.removeprefix("{kind: ").partition(",")[0]
    fault = single_fault(tmp_path, f"{text}design: {design}\n")
    assert f"design {kind} would run {points} points, and at most 100000 are; list fewer values, or use" in fault


@pytest.mark.parametrize("design", ["grid", "one_factor", "factorial", "{kind: factorial, resolution: 3}"])
def test_a_list_of_nothing_is_refused(tmp_path: Path, design: str) -> None:
    fault = single_fault(tmp_path, f"name: x\nspace: {{depth: 18}}\ndesign: {design}\n")
    assert " has no points, as space searches nothing; search a hyperparameter, or use design search with one" in fault
    assert fault.startswith("2:1: ")


def test_a_design_of_one_word_is_its_kind(tmp_path: Path) -> None:
    for text in ("design: grid", "design: {kind: grid}"):
        assert load(tmp_path, f"{LISTED}{text}\n").spec.design == DesignSpec(kind="grid")
    assert load(tmp_path, LISTED).spec.design == DesignSpec()


def test_a_grid_is_not_a_sampler_any_more(tmp_path: Path) -> None:
    fault = single_fault(tmp_path, f"{LISTED}search: {{sampler: grid}}\n")
    assert fault.endswith('got "grid"; a grid is a design now: remove it and write design: grid')


def test_options_change_the_design_and_leave_its_number_of_trials_aside(tmp_path: Path) -> None:
    text = f"{LISTED}search: {{trials: 5}}\n"
    for option in ("design=grid", "design.kind=grid", "design={kind: grid}"):
        assert planned_trials(load(tmp_path, text, [option]).spec) == 6
    assert load(tmp_path, text, ["design=grid"], trials=4).spec.budget.trials == 4
    assert load(tmp_path, text, trials=4).spec.search.trials == 4
    assert faults(tmp_path, text, ["design=grid", "search.trials=4"])[0].startswith(
        "--set search.trials=4: search.trials belongs to design search, but design.kind is grid"
    )


def test_options_that_narrow_the_space_leave_the_baseline_readable(tmp_path: Path) -> None:
    text = f"{LISTED}design: {{kind: one_factor, baseline: {{depth: 10, optimizer: adam, momentum: 0.9}}}}\n"
    spec = load(tmp_path, text, ["space.optimizer=adam"]).spec
    assert list(listed_points(spec) or ()) == [{"depth": 10}, {"depth": 18}]
    constant = text.replace("{choice: [10, 18]}", "18")
    assert single_fault(tmp_path, constant).startswith(
        "6:39: design.baseline.depth is a constant of space; leave it out"
    )


def test_a_baseline_is_read_in_the_types_of_the_space_and_survives_json(tmp_path: Path) -> None:
    text = f"{LISTED}design: {{kind: one_factor, baseline: {{depth: 10, optimizer: sgd, momentum: 0}}}}\n"
    spec = load(tmp_path, f"{text}replicates: {{seeds: [3, 1]}}\nbudget: {{wall_clock: 2 h}}\n").spec
    first = next(listed_points(spec) or iter(()))
    assert first == {"depth": 10, "optimizer": "sgd", "momentum": 0.0}
    assert type(first["momentum"]) is float
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
