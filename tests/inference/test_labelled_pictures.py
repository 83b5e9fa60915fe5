"""Folders are matched with the classes of a bundle, and what does not match is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from inference_kit import picture

from study.errors import DataError
from study.inference.labelled_pictures import find_labelled

CLASSES = ("not_wearing_mask", "wearing_mask")


def fill(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            (folder / name / f"{k}.png").write_bytes(picture(k))
    return folder


def test_folders_are_classes_by_name(tmp_path: Path) -> None:
    labelled = find_labelled(fill(tmp_path, wearing_mask=2, not_wearing_mask=1), CLASSES)
    assert [file.name for file in labelled.files] == [
        "not_wearing_mask/0.png",
        "wearing_mask/0.png",
        "wearing_mask/1.png",
    ]
    assert labelled.labels == (0, 1, 1)
    assert not labelled.others
    assert not labelled.notes


def test_capitals_and_signs_do_not_matter_unless_two_are_alike(tmp_path: Path) -> None:
    fill(tmp_path, **{"Wearing Mask": 1, "NOT-WEARING-MASK": 1})
    labelled = find_labelled(tmp_path, CLASSES)
    assert labelled.labels == (0, 1)
    assert labelled.notes == (
        "the folder NOT-WEARING-MASK counts as class not_wearing_mask",
        "the folder Wearing Mask counts as class wearing_mask",
    )
    with pytest.raises(DataError, match="holds NOT-WEARING-MASK, Wearing Mask; say which is which"):
        find_labelled(tmp_path, ("wearing_mask", "wearing-mask", "other"))


def test_folders_that_are_no_class_are_kept_apart_or_named(tmp_path: Path) -> None:
    fill(tmp_path, wearing_mask=1, improper=3)
    labelled = find_labelled(tmp_path, CLASSES)
    assert {name: len(files) for name, files in labelled.others.items()} == {"improper": 3}
    assert labelled.labels == (1,)
    named = find_labelled(tmp_path, CLASSES, {"improper": "not_wearing_mask"})
    assert named.labels == (0, 0, 0, 1)
    assert not named.others
    assert named.notes == ("the folder improper counts as class not_wearing_mask",)


def test_what_is_not_counted_is_said(tmp_path: Path) -> None:
    fill(tmp_path, wearing_mask=1)
    (tmp_path / "loose.png").write_bytes(picture(1))
    (tmp_path / "wearing_mask" / "notes.txt").write_text("x")
    labelled = find_labelled(tmp_path, CLASSES)
    assert labelled.notes == (
        "not counted, as they lie in no class folder: 1 pictures", "files not read: 1 (.txt 1)",
    )  # fmt: skip


def test_a_folder_that_cannot_be_used_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder with pictures"):
        find_labelled(tmp_path, CLASSES)
    with pytest.raises(DataError, match="cannot read the folder"):
        find_labelled(tmp_path / "missing", CLASSES)
    fill(tmp_path / "all" / "test", wearing_mask=1)
    with pytest.raises(DataError, match=r"hold such folders; name one of them: .*/all/test"):
        find_labelled(tmp_path / "all", CLASSES)
    fill(tmp_path / "other", cat=1)
    with pytest.raises(DataError, match="holds cat; say which is which with --classes FOLDER=CLASS"):
        find_labelled(tmp_path / "other", CLASSES)
    with pytest.raises(DataError, match=r"no dog; there are: cat"):
        find_labelled(tmp_path / "other", CLASSES, {"dog": "wearing_mask"})
    with pytest.raises(DataError, match=r"classes of the bundle .* but got mask"):
        find_labelled(tmp_path / "other", CLASSES, {"cat": "mask"})
