"""The data section of a study file: what it takes, and its faults at their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config.study_config import DataSpec
from study.config_file import load_spec
from study.errors import SpecError


def load(folder: Path, data: str) -> DataSpec:
    path = folder / "study.yaml"
    path.write_text(f"name: x\nspace: {{depth: {{choice: [10, 18]}}}}\ndata: {data}\n")
    return load_spec(path).spec.data


def test_every_word_arrives(tmp_path: Path) -> None:
    (tmp_path / "dark").mkdir()
    data = load(
        tmp_path,
        f"{{source: folder, path: {tmp_path}, group_by: 'p(\\d+)_', stratify: false, resize: pad, "
        f"classes: {{improper: bad}}, shifted: {{dark: {tmp_path}/dark}}}}",
    )
    assert (data.group_by, data.stratify, data.resize) == (r"p(\d+)_", False, "pad")
    assert data.classes == {"improper": "bad"}
    assert data.shifted == {"dark": f"{tmp_path}/dark"}


def test_kinds_of_faces_are_mapped(tmp_path: Path) -> None:
    assert load(tmp_path, "{classes: {nose: improper, chin: improper}}").classes["nose"] == "improper"


@pytest.mark.parametrize(
    "data, expected",
    [
        ("{classes: [a]}", "3:17: data.classes must be a mapping from text to text, got"),
        ("{classes: {nose: 3}}", '3:24: data.classes.nose must be text, got 3; put it in quotes: "3"'),
        ("{classes: {nose: ''}}", "3:24: a class name must be printable and not empty, without blanks around it, got "),
        ("{classes: {noze: a}}", "3:18: unknown key `noze` in data.classes of source: faces; did you mean `nose`?"),
        ("{classes: {masked: not_wearing_mask}}", "3:17: data.classes must leave at least two classes, but every kind"),
        ("{shifted: {a/b: .}}", '3:18: a name in data.shifted must be 1 to 80 letters, digits, -, _ or blanks, got "a'),
        ("{shifted: {dark: nowhere}}", '3:24: data.shifted.dark must be a directory, but "nowhere" does not exist; it'),
        ("{shifted: {lowlight: .}}", "3:18: data.shifted.lowlight is a built-in set of source: faces already; choose"),
        ("{group_by: a}", "3:8: data.group_by belongs to source: folder, but data.source is faces; remove it"),
        (
            "{source: folder, path: ., group_by: '(a'}",
            '3:43: data.group_by must be a regular expression, but "(a" is not: missing ), unterminated subpattern at',
        ),
        ("{resize: cut}", '3:16: data.resize must be one of crop, stretch, pad, got "cut"'),
        ("{stratify: 1}", "3:18: data.stratify must be true or false, got 1"),
    ],
)
def test_a_fault_has_its_place_and_the_way_out(tmp_path: Path, data: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, data)
    reported = [line.removeprefix(f"{tmp_path / 'study.yaml'}:") for line in str(caught.value).split("\n")]
    assert [line for line in reported if line.startswith(expected)], reported


def test_a_shifted_name_of_the_faces_is_free_in_a_folder(tmp_path: Path) -> None:
    assert load(tmp_path, f"{{source: folder, path: {tmp_path}, shifted: {{lowlight: {tmp_path}}}}}").shifted
