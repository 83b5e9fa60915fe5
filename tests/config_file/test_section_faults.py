"""Every fault of a study file outside its space, at its exact place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from study.config_file import load_spec
from study.errors import SpecError

SPACE = "space: {depth: {choice: [10, 18]}}\n"


def faults(folder: Path, text: str | bytes, overrides: Sequence[str] = ()) -> list[str]:
    """Return each fault as "line:column: message", or as its message where it has no place."""
    path = folder / "study.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    assert caught.value.exit_code == 2
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:").strip() for line in lines]


def single_fault(folder: Path, body: str) -> str:
    """Return the only fault of a study with these lines after its name and space; they begin on line 3."""
    (fault,) = faults(folder, f"name: x\n{SPACE}{body}")
    return fault


@pytest.mark.parametrize(
    "body, expected",
    [
        ("serach: {trials: 2}", "3:1: unknown key `serach` in the study file; did you mean `search`? Known: name, "),
        ("search: {trails: 2}", "3:10: unknown key `trails` in search; did you mean `trials`? Known: sampler, trials"),
        ("max_epochs: 3", "3:1: unknown key `max_epochs` in the study file; did you mean `trial.max_epochs`? Known: "),
        ("data: {zzzz: 2}", "3:8: unknown key `zzzz` in data. Known: source, path, image_size_px"),
        ("trial: {max_epochs: '4'}", '3:21: trial.max_epochs must be a whole number >= 1 and <= 10000, got "4"; '),
        ("trial: {max_epochs: true}", "3:21: trial.max_epochs must be a whole number >= 1 and <= 10000, got true"),
        (
            "trial: {max_epochs: 4.0}",
            "3:21: trial.max_epochs must be a whole number >= 1 and <= 10000, got 4.0; write 4",
        ),
        ("trial: {max_epochs: }", "3:9: trial.max_epochs has no value; it must be a whole number"),
        ("trial: {depth: 18.5}", "3:16: trial.depth must be one of 10, 18, 34, 50, 101, 152, got 18.5"),
        ("trial: {channels_last: 2}", "3:24: trial.channels_last must be one of auto, true, false, got 2"),
        ("trial: {learning_rate: 0}", "3:24: trial.learning_rate must be a number > 0, got 0"),
        ("trial: {learning_rate: .inf}", "3:24: trial.learning_rate must be finite, got .inf"),
        ("trial: {learning_rate: .nan}", "3:24: trial.learning_rate must be finite, got .nan"),
        ("trial: {learning_rate: '1e-4'}", '3:24: trial.learning_rate must be a number > 0, got "1e-4"; remove the '),
        ("trial: [1]", "3:8: trial must be a mapping such as {family: ...}, got [1]"),
        ("data: {image_size_px: 8}", "3:23: data.image_size_px must be a whole number >= 16 and <= 1024, got 8"),
        ("data: {fractions: [0.5, 0.5]}", "3:19: data.fractions must be a list of 3 values, got [0.5, 0.5]"),
        ("data: {fractions: [0.8, 0.1, 0.2]}", "3:19: data.fractions must sum to 1, got 0.8 + 0.1 + 0.2 = 1.1"),
        ("data: {fractions: [1.5, 0.1, 0.2]}", "3:20: data.fractions[0] must be a number > 0 and < 1, got 1.5"),
        ("data: {path: here}", "3:8: data.path belongs to source: folder, but data.source is faces; remove it"),
        ("data: {source: folder}", "3:16: data.path is missing; source: folder needs the directory"),
        ("data: {source: folder, path: no}", '3:30: data.path must be a directory, but "no" does not exist; it is'),
        ("data: {source: folder, path: ., count: 50}", "3:33: data.count belongs to source: faces, but data.source"),
        ("resources: {gpus_per_trial: 1.5}", "3:29: resources.gpus_per_trial must be whole when it is > 1, got 1.5; "),
        ("resources: {gpus_per_trial: -1}", "3:29: resources.gpus_per_trial must be auto or a number >= 0, got -1"),
        ("resources: {gpus_per_trial: two}", '3:29: resources.gpus_per_trial must be auto or a number >= 0, got "two"'),
        (
            "objective: {metric: val_acu, mode: max}",
            "3:21: trials do not report a metric `val_acu`; did you mean `val_",
        ),
        ("objective: {metric: val_auc, mode: min}", "3:36: objective.mode must be max for val_auc, which is better "),
        ("objective: {metric: val_loss, mode: max}", "3:37: objective.mode must be min for val_loss, which is better "),
        ("objective: {metric: val_auc}", "3:12: objective.mode is missing; it must be one of max, min"),
        ("objective: {metric: learning_rate, mode: max}", "3:21: learning_rate has no better direction, so it cannot"),
        ("search: {trials: 0}", "3:18: search.trials must be a whole number >= 1 and <= 100000, got 0"),
        ("search: {min_epochs: 11}", "3:22: search.min_epochs must be <= max_epochs = 10 for pruner asha to ever act"),
        (
            "trial: {momentum: 0.5}",
            "3:9: trial.momentum belongs to sgd, but optimizer is always adam; remove it or set",
        ),
        (
            "trial: {depth: 18}",
            "2:9: depth must not be in both trial and space; remove one of them; to fix a searched ",
        ),
        ("trial: {init: kaiming, init: xavier}", "3:24: duplicate key `init`: it is already on line 3; keep one of"),
        ("trial: !fast {init: kaiming}", "3:8: tag !fast is not understood; leave it out"),
        ("trial: {init: !!int x}", '3:15: "x" cannot be read as !!int; put it in quotes if it is text'),
        ("trial: {[1]: 2}", "3:9: a key must be text, not a list or a mapping"),
        ("trial: {<<: 3}", "3:13: `<<` must merge a mapping or a list of mappings, written as an alias such as *base"),
    ],
)
def test_single_fault_has_its_place_and_the_way_out(tmp_path: Path, body: str, expected: str) -> None:
    reported = faults(tmp_path, f"name: x\n{SPACE}{body}\n")
    matching = [line for line in reported if line.startswith(expected)]
    assert len(matching) == 1, reported
    assert "Input should" not in "".join(reported)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "1:1: is empty; the least a study file needs is a name and a space"),
        ("# only a comment\n", "1:1: is empty; the least a study file needs is a name and a space"),
        ("- name\n", '1:1: must be a mapping that begins like `name: ablation`, got ["name"]'),
        (
            "name: [1, 2\nsearch: 3\n",
            "2:7: is not YAML: while parsing a flow sequence expected ',' or ']', but got ':'",
        ),
        ("name: x\n\tspace: 1\n", "2:1: is not YAML: while scanning for the next token found character '\\t'"),
        ("name: *nothing\n", "1:7: is not YAML: found undefined alias 'nothing'"),
        ("name: a\x01b\n", "1:8: is not YAML: character 1 is not allowed"),
        ("name: a\n---\nname: b\n", "2:1: is not YAML: expected a single document"),
        (b"name: x\n# caf\xe9\n", "2:6: must be UTF-8, got byte 0xe9; save it as UTF-8"),
        ("[" * 4000, "1:1: is nested too deep for a study file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_located_fault(tmp_path: Path, text: str | bytes, expected: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("12", '1:7: name must be text of 1 to 150 characters, got 12; put it in quotes: "12"'),
        ("''", '1:7: name must be text of 1 to 150 characters, got ""'),
        ("a" * 151, "1:7: name must be text of 1 to 150 characters, got"),
        ('"a\\tb"', '1:7: name must have only printable characters, got "a\\tb"'),
        ("' a'", '1:7: name must not begin or end with a blank, got " a"'),
        ("'..'", '1:7: name must not be dots only, got ".."'),
        ("ä" * 34, "1:7: name must take at most 200 characters as a folder, got 204; shorten it"),
    ],
)
def test_a_name_must_be_usable_as_a_folder(tmp_path: Path, name: str, expected: str) -> None:
    (fault,) = faults(tmp_path, f"name: {name}\n{SPACE}")
    assert fault.startswith(expected)


def test_a_name_may_be_as_long_as_a_folder_allows(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"name: {'ä' * 33}{'a' * 2}\n{SPACE}")
    assert load_spec(path).spec.name == "ä" * 33 + "aa"  # 33 * 6 + 2 = 200


def test_a_missing_name_is_reported_where_the_file_begins(tmp_path: Path) -> None:
    assert faults(tmp_path, f"# why\n{SPACE}") == ["2:1: name is missing; it must be text of 1 to 150 characters"]


def test_nothing_searched_needs_a_single_trial(tmp_path: Path) -> None:
    expected = "space searches nothing, so all 16 trials would be the same one; search a hyperparameter or set"
    for text, place in (("name: x\n", "1:1"), ("name: x\nspace:\n", "2:1"), ("name: x\nspace: {depth: 18}\n", "2:1")):
        (fault,) = faults(tmp_path, text)
        assert fault.startswith(f"{place}: {expected}")
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nsearch: {trials: 1}\n")
    assert load_spec(path).spec.space == ()


def test_min_epochs_is_compared_with_the_largest_searched_max_epochs(tmp_path: Path) -> None:
    text = "name: x\nspace: {{max_epochs: {}}}\nsearch: {{min_epochs: {}, pruner: {}}}\n"
    for domain in ("{int: [2, 8]}", "{choice: [8, 2]}"):
        (fault,) = faults(tmp_path, text.format(domain, 9, "median"))
        assert fault.startswith(
            "3:22: search.min_epochs must be <= max_epochs = 8 for pruner median to ever act, got 9"
        )
        for least, pruner in ((8, "median"), (9, "none")):
            (tmp_path / "study.yaml").write_text(text.format(domain, least, pruner))
            assert load_spec(tmp_path / "study.yaml").spec.search.min_epochs == least


def test_all_faults_come_at_once_in_file_order(tmp_path: Path) -> None:
    text = """\
name: x
objective: {metric: val_acc, mode: max}
data: {source: folder, path: nowhere, image_size_px: "64"}
trial: {max_epochs: true, depth: 18, learnin_rate: 0.1}
space:
  init: {choice: []}
  momentum: {uniform: [0.0, 1.5]}
  learning_rate: {loguniform: [0.0, 1e-1]}
  weight_decay: {uniform: [0.5, 0.1], when: {optimizr: sgd}}
search: {sampler: tpee}
search: {}
"""
    reported = faults(tmp_path, text)
    places = ["2:21", "3:30", "3:54", "4:21", "4:38", "6:18", "7:29", "8:32", "9:28", "9:46", "10:19", "11:1"]
    assert [line.split(": ")[0] for line in reported] == places


def test_an_alias_that_contains_itself_or_grows_without_end_is_a_fault(tmp_path: Path) -> None:
    reported = faults(tmp_path, f"name: x\n{SPACE}trial: &t {{<<: *t}}\n")
    assert reported == ["3:8: an alias must not contain itself"]
    bomb = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert faults(tmp_path, bomb) == ["1:1: must have at most 20000 values once its aliases are expanded"]


def test_a_missing_file_says_which_study_files_there_are(tmp_path: Path) -> None:
    (tmp_path / "ablation.yaml").touch()
    with pytest.raises(
        SpecError, match=r"ablatoin.yaml: does not exist; did you mean \S+ablation.yaml\? \S+ has ablation"
    ):
        load_spec(tmp_path / "ablatoin.yaml")
    with pytest.raises(SpecError, match=r"is a directory; \S+ has ablation.yaml"):
        load_spec(tmp_path)
    with pytest.raises(SpecError, match=r"does not exist; \S+ has no study file"):
        load_spec(tmp_path / "no" / "x.yaml")


def test_a_path_to_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    body = f"data: {{source: folder, path: '{tmp_path / 'file'}'}}"
    (fault,) = faults(tmp_path, f"name: x\n{SPACE}{body}\n")
    assert fault.startswith("3:30: data.path must be a directory")
    assert fault.endswith("is not a directory")


@pytest.mark.parametrize(
    "override, expected",
    [
        ("trial.max_epchs=1", "--set trial.max_epchs=1: unknown key `max_epchs` in trial; did you mean `max_epochs`?"),
        (
            "trail.max_epochs=1",
            "--set trail.max_epochs=1: unknown key `trail` in the study file; did you mean `trial`?",
        ),
        ("trial.max_epochs='1'", "--set trial.max_epochs='1': trial.max_epochs must be a whole number"),
        ("trial.max_epochs", "--set trial.max_epochs: must be key=value with a dotted key"),
        ("=3", "--set =3: must be key=value with a dotted key"),
        ("trial..x=3", "--set trial..x=3: must be key=value with a dotted key"),
        ("trial.depth=[1", "--set trial.depth=[1: the value is not YAML: "),
        ("trial={a: 1, a: 2}", "--set trial={a: 1, a: 2}: the value duplicate key `a`"),
        ("name.x=3", '--set name.x=3: name is "x", which has no keys; set it whole: --set name='),
        ("trial.depth=18", "--set trial.depth=18: depth must not be in both trial and space"),
        ("space.depth.choice=[19]", "--set space.depth.choice=[19]: space.depth.choice[0] must be one of 10, 18"),
        (
            "space.depth.uniform=[1, 2]",
            "--set space.depth.uniform=[1, 2]: space.depth must have one domain, got choice",
        ),
        ("data.source=folder", "--set data.source=folder: data.path is missing"),
        ("data.path=x", "--set data.path=x: data.path belongs to source: folder"),
    ],
)
def test_a_bad_option_is_named_instead_of_a_place(tmp_path: Path, override: str, expected: str) -> None:
    reported = faults(tmp_path, f"name: x\n{SPACE}", [override])
    assert any(line.startswith(expected) for line in reported), reported


def test_bad_name_and_trials_options_are_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\n{SPACE}")
    with pytest.raises(SpecError, match=r"--trials 0: search.trials must be a whole number >= 1"):
        load_spec(path, trials=0)
    with pytest.raises(SpecError, match=r"--name ..: name must not be dots only"):
        load_spec(path, name="..")
