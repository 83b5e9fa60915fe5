"""Every fault of a study file's space, at its exact place."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_section_faults import faults

from study.config_file import load_spec


def space_faults(folder: Path, *lines: str) -> list[str]:
    """Return the faults of a study whose space has these lines; the first is line 3."""
    return faults(folder, "name: x\nspace:\n" + "".join(f"  {line}\n" for line in lines))


@pytest.mark.parametrize(
    "line, expected",
    [
        ("learning_rat: 0.1", "3:3: unknown key `learning_rat` in space; did you mean `learning_rate`? Known: family"),
        ("depth: {chioce: [18]}", "3:11: unknown key `chioce` in space.depth; did you mean `choice`? Known: choice, "),
        ("depth: {choice: [18], low: 1}", "3:25: unknown key `low` in space.depth. Known: choice, uniform"),
        ("depth: {}", "3:3: space.depth has no domain; give a constant or {choice: [...]}, {uniform: [low, high]}"),
        ("depth:", "3:3: space.depth has no value; give a constant or {choice: [...]}"),
        ("depth: [10, 18]", "3:10: space.depth is a list; write {choice: [10, 18]}"),
        ("depth: 19", "3:10: space.depth must be one of 10, 18, 34, 50, 101, 152, got 19"),
        ("depth: {choice: []}", "3:19: space.depth.choice must have at least one value, got []"),
        ("depth: {choice: 18}", "3:19: space.depth.choice must be a list of values, got 18"),
        ("depth: {choice: [18, 19]}", "3:24: space.depth.choice[1] must be one of 10, 18, 34, 50, 101, 152, got 19"),
        ("depth: {choice: [18, 10, 18]}", "3:28: space.depth.choice must not repeat a value, got 18 twice"),
        ("depth: {choice: [[18]]}", "3:20: space.depth.choice[0] must be one of 10, 18, 34, 50, 101, 152, got [18]"),
        (
            "learning_rate: {choice: [1, 1.0]}",
            "3:31: space.learning_rate.choice must not repeat a value, got 1.0 as 1 and as 1.0",
        ),
        ("momentum: {choice: [null]}", "3:23: space.momentum.choice[0] must be a number >= 0 and < 1, got null"),
        (
            "channels_last: {choice: [true, 1]}",
            "3:34: space.channels_last.choice must not repeat a value, got 1 as true and as 1",
        ),
        ("weight_decay: {uniform: [0.5, 0.1]}", "3:28: space.weight_decay: `low < high` must hold, but got (low=0.5, "),
        (
            "weight_decay: {uniform: [1, 1]}",
            "3:28: space.weight_decay: `low < high` must hold, but got (low=1, high=1)",
        ),
        ("weight_decay: {uniform: [1]}", "3:27: space.weight_decay.uniform must be [low, high], got [1]"),
        ("weight_decay: {uniform: [0, .inf]}", "3:31: space.weight_decay.high must be finite, got .inf"),
        (
            "weight_decay: {uniform: [0, '1']}",
            '3:31: space.weight_decay.high must be a number, got "1"; remove the quot',
        ),
        ("weight_decay: {uniform: [-1, 1]}", "3:28: space.weight_decay.low must be a number >= 0, got -1"),
        ("weight_decay: {loguniform: [0, 1]}", "3:31: space.weight_decay.low must be > 0 when the scale is log, got 0"),
        ("weight_decay: {uniform: [0, 1], step: 0}", "3:41: space.weight_decay.step must be > 0, got 0"),
        ("weight_decay: {uniform: [0, 1], step: 2}", "3:41: space.weight_decay.step must be <= high - low = 1, got 2"),
        (
            "weight_decay: {loguniform: [0.1, 1], step: 0.1}",
            "3:40: space.weight_decay.step belongs to uniform and int, ",
        ),
        (
            "weight_decay: {choice: [0.1], step: 0.1}",
            "3:33: space.weight_decay.step belongs to uniform and int, not to",
        ),
        ("momentum: {uniform: [0, 1]}", "3:27: space.momentum.high must be a number >= 0 and < 1, got 1"),
        ("batch_size: {uniform: [16, 64]}", "3:16: space.batch_size must be a whole number >= 2 and <= 65536, so unif"),
        ("batch_size: {int: [16.0, 64]}", "3:22: space.batch_size.low must be a whole number, got 16.0; write 16"),
        ("batch_size: {int: [16, 64], step: 0.5}", "3:37: space.batch_size.step must be a whole number, got 0.5"),
        ("batch_size: {int: [0, 64]}", "3:22: space.batch_size.low must be a whole number >= 2 and <= 65536, got 0"),
        ("batch_size: {logint: [0, 64]}", "3:25: space.batch_size.low must be > 0 when the scale is log, got 0"),
        ("depth: {int: [10, 34], step: 8}", "3:16: space.depth must be one of 10, 18, 34, 50, 101, 152, but int gives"),
        (
            "depth: {uniform: [10, 34]}",
            "3:11: space.depth must be one of 10, 18, 34, 50, 101, 152, so uniform does not",
        ),
        (
            "init: {int: [1, 2]}",
            "3:10: space.init must be one of kaiming, xavier, orthogonal, zero_residual, imagenet, rotation or ch",
        ),
        ("depth: {choice: [18], int: [1, 2]}", "3:25: space.depth must have one domain, got choice and int; keep one"),
        ("depth: {choice: [18], when: {}}", "3:31: space.depth.when must name a parent, such as {optimizer: sgd}, got"),
        ("depth: {choice: [18], when: }", "3:25: space.depth.when has no value; name a parent"),
        (
            "depth: {choice: [18], when: sgd}",
            "3:31: space.depth.when must name a parent, such as {optimizer: sgd}, got",
        ),
        ("depth: {choice: [18], when: {depth: 18}}", "3:32: space.depth.when must not ask for `depth` itself"),
        ("depth: {choice: [18], when: {init: xavier}}", "3:32: space.depth.when asks for `init`, which is not search"),
    ],
)
def test_one_line_has_its_fault(tmp_path: Path, line: str, expected: str) -> None:
    reported = space_faults(tmp_path, line)
    assert len([line for line in reported if line.startswith(expected)]) == 1, reported


@pytest.mark.parametrize(
    "when, expected",
    [
        (
            "{optimzer: sgd}",
            "4:42: space.momentum.when asks for `optimzer`, which is not searched; did you mean `optim",
        ),
        (
            "{optimizer: sdg}",
            '4:53: space.momentum.when.optimizer must be a value it can take (sgd, adam), got "sdg"; did',
        ),
        (
            "{optimizer: [sgd, sgdm]}",
            "4:59: space.momentum.when.optimizer must be a value it can take (sgd, adam), got",
        ),
        ("{optimizer: []}", "4:53: space.momentum.when.optimizer must list at least one value, got []"),
        ("{optimizer: null}", "4:53: space.momentum.when.optimizer must be a value it can take (sgd, adam), got null"),
        (
            "{optimizer: {a: b}}",
            "4:53: space.momentum.when.optimizer must be a value it can take (sgd, adam), got a map",
        ),
        (
            "{weight_decay: 0.1}",
            "4:42: space.momentum.when cannot ask for a value of `weight_decay`: a continuous range",
        ),
        (
            "{depth: 18}",
            "4:42: space.momentum.when asks for `depth`, which is not searched (it is 18 in trial); search",
        ),
        ("{max_epochs: 5}", "4:54: space.momentum.when.max_epochs must be a value it can take (2, 4, 6), got 5"),
        ("{channels_last: 1}", "4:57: space.momentum.when.channels_last must be a value it can take (true), got 1"),
    ],
)
def test_a_condition_must_be_one_that_can_hold(tmp_path: Path, when: str, expected: str) -> None:
    text = f"""\
name: x
space:
  optimizer: {{choice: [sgd, adam]}}
  momentum: {{uniform: [0.0, 0.9], when: {when}}}
  weight_decay: {{uniform: [0, 0.1]}}
  max_epochs: {{int: [2, 7], step: 2}}
  channels_last: {{choice: [true]}}
trial: {{depth: 18}}
"""
    assert faults(tmp_path, text)[0].startswith(expected)


def test_each_circle_is_reported_once_at_its_first_line(tmp_path: Path) -> None:
    reported = space_faults(
        tmp_path,
        "depth: {choice: [18], when: {init: xavier}}",
        "init: {choice: [xavier], when: {augmentation: flip}}",
        "augmentation: {choice: [flip], when: {depth: 18}}",
        "batch_size: {choice: [8], when: {depth: 18}}",
        "precision: {choice: [fp32], when: {optimizer: sgd}}",
        "optimizer: {choice: [sgd], when: {precision: fp32}}",
    )
    assert [line.split(";")[0] for line in reported] == [
        "3:25: space.depth.when is a circle: depth -> init -> augmentation -> depth",
        "7:31: space.precision.when is a circle: precision -> optimizer -> precision",
    ]


def test_conditions_that_exclude_each_other_are_found_through_the_parents(tmp_path: Path) -> None:
    (fault,) = space_faults(
        tmp_path,
        "optimizer: {choice: [sgd, adam]}",
        "momentum: {choice: [0.5, 0.9], when: {optimizer: sgd}}",
        "depth: {choice: [10, 18], when: {momentum: 0.5, optimizer: adam}}",
    )
    assert fault.startswith("5:29: space.depth can never exist: its conditions and its parents' ask `optimizer` for")


@pytest.mark.parametrize(
    "optimizer, momentum, expected",
    [
        (
            "{choice: [sgd, adam]}",
            "{uniform: [0.0, 0.9]}",
            "space.momentum belongs to sgd, but would be searched for adam",
        ),
        ("{choice: [adam]}", "{uniform: [0.0, 0.9]}", "space.momentum belongs to sgd, but optimizer is always adam"),
        ("adam", "{uniform: [0.0, 0.9]}", "space.momentum belongs to sgd, but optimizer is always adam"),
        ("adam", "0.9", "space.momentum belongs to sgd, but optimizer is always adam"),
        ("{choice: [sgd, adam]}", "{choice: [0.9], when: {optimizer: adam}}", "space.momentum belongs to sgd, but opt"),
        (
            "{choice: [sgd, adam]}",
            "{choice: [0.9], when: {optimizer: [sgd, adam]}}",
            "space.momentum belongs to sgd, bu",
        ),
        ("{choice: [sgd], when: {depth: 18}}", "{choice: [0.9], when: {depth: 18}}", "space.momentum belongs to sgd, "),
    ],
)
def test_momentum_is_for_sgd_alone(tmp_path: Path, optimizer: str, momentum: str, expected: str) -> None:
    (fault,) = space_faults(tmp_path, "depth: {choice: [10, 18]}", f"optimizer: {optimizer}", f"momentum: {momentum}")
    assert fault.startswith(f"5:3: {expected}")


@pytest.mark.parametrize(
    "optimizer, momentum",
    [
        ("sgd", "{uniform: [0.0, 0.9]}"),
        ("{choice: [sgd]}", "{uniform: [0.0, 0.9]}"),
        ("{choice: [sgd, adam]}", "0.9"),
        ("{choice: [sgd, adam]}", "{uniform: [0.0, 0.9], when: {optimizer: [sgd]}}"),
    ],
)
def test_momentum_beside_sgd_is_allowed(tmp_path: Path, optimizer: str, momentum: str) -> None:
    path = tmp_path / "study.yaml"
    lines = f"  depth: {{choice: [10, 18]}}\n  optimizer: {optimizer}\n  momentum: {momentum}\n"
    path.write_text(f"name: x\nspace:\n{lines}")
    assert {parameter.name for parameter in load_spec(path).spec.space} == {"depth", "optimizer", "momentum"}
