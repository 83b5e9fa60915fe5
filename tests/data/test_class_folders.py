"""Folders are mapped to classes, and shifted sets may lie anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.config.study_config import DataSpec
from study.data import DataBundle, load_data
from study.errors import DataError

SIZE = 16


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for at in range(count):
            Image.new("RGB", (SIZE, SIZE), (at, 7, 7)).save(root / folder / f"{at:03d}.png")
    return root


def load(root: Path, **more: object) -> DataBundle:
    return load_data(DataSpec(source="folder", path=str(root), image_size_px=SIZE, **more), workers=1)


def test_folders_are_merged_into_classes(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"with": 10, "without": 10, "improper": 10})
    three, two = load(root), load(root, classes={"improper": "without"})
    assert three.classes == ("improper", "with", "without")
    assert two.classes == ("with", "without")
    assert two.summary.class_counts["train"] == {"with": 6, "without": 12}
    for name, label in zip(two.train.names, two.train.labels, strict=True):
        assert label == (not name.startswith("with/"))
    renamed = load(root, classes={"with": "z"})
    assert renamed.classes == ("improper", "without", "z")


def test_a_key_without_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no improper; there are: a, b\."):
        load(write_folder(tmp_path, {"a": 5, "b": 5}), classes={"improper": "a"})


def test_all_in_one_class_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must have 2 to 1000 classes, but has 1: b"):
        load(write_folder(tmp_path, {"a": 5, "b": 5}), classes={"a": "b"})


def test_shifted_folders_are_read_from_anywhere(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 10, "b": 10, "shifted/own/a": 2})
    dark = write_folder(tmp_path / "dark", {"bad": 3})
    bundle = load(root, classes={"bad": "b"}, shifted={"dark": str(dark)})
    assert bundle.summary.class_counts["shifted/own"] == {"a": 2, "b": 0}
    assert bundle.shifted["dark"].names == tuple(f"shifted/dark/bad/{at:03d}.png" for at in range(3))
    assert bundle.shifted["dark"].labels.tolist() == [1, 1, 1]
    other = write_folder(tmp_path / "other", {"b": 1})
    assert len(load(root, shifted={"dark": str(other)}).shifted["dark"]) == 1
    again = load(root, classes={"bad": "b"}, shifted={"dark": str(dark)})
    assert again.summary == bundle.summary


@pytest.mark.parametrize(
    "name, folders, message",
    [
        ("own", {"a": 1}, "must be new, but shifted/own is there already"),
        ("x/y", {"a": 1}, r"must not be empty or hold / or \., but got 'x/y'"),
        ("x.y", {"a": 1}, r"must not be empty or hold / or \., but got 'x.y'"),
        ("x", {"c": 1}, r"classes of training only \(a, b\), but shifted/x has 'c'"),
        ("x", {"a": 0}, "at least one picture in a class folder, but shifted/x has none"),
        ("x", {}, "at least one picture in a class folder, but shifted/x has none"),
    ],
)
def test_a_faulty_shifted_set_is_an_error(tmp_path: Path, name: str, folders: dict[str, int], message: str) -> None:
    root = write_folder(tmp_path / "data", {"a": 5, "b": 5, "shifted/own/a": 1})
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=message):
        load(root, shifted={name: str(write_folder(tmp_path / "x", folders))})
    with pytest.raises(DataError, match=r"data\.shifted\.z must be an existing folder"):
        load(root, shifted={"z": str(tmp_path / "z")})


def test_a_split_without_stratifying_keeps_the_size_of_the_whole(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 50, "b": 50})
    plain, strict = load(root, stratify=False), load(root)
    assert plain.summary.sizes == strict.summary.sizes == {"train": 60, "val": 20, "test": 20}
    assert strict.summary.class_counts["val"] == {"a": 10, "b": 10}
    others = [load(root, stratify=False, seed=seed).summary.class_counts["val"] for seed in (1, 2, 3)]
    assert any(counts != {"a": 10, "b": 10} for counts in others)


def test_groups_stay_together(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 60, "b": 60})
    bundle = load(root, group_by=r"(\d)\.png")  # ten groups by the last digit, over both classes
    digits = [{name[-5] for name in images.names} for images in (bundle.train, bundle.val, bundle.test)]
    assert [len(persons) for persons in digits] == [6, 2, 2]
    assert len(set.union(*digits)) == 10
    given = write_folder(tmp_path / "given", {f"{split}/{name}": 3 for split in ("train", "val") for name in "ab"})
    with pytest.raises(DataError, match=r"no group of data.group_by may be in two splits, but 3 are: 000"):
        load(given, group_by=r"(\d+)\.png")


def test_faces_of_three_classes(tmp_path: Path) -> None:
    faces = DataSpec(image_size_px=16, count=80)
    two = load_data(faces, workers=1)
    mapped = faces.model_copy(update={"classes": {"nose": "improper", "chin": "improper"}})
    three = load_data(mapped, workers=1)
    assert three.classes == ("improper", "not_wearing_mask", "wearing_mask")
    kind_classes = {"masked": 2, "unmasked": 1, "nose": 0, "chin": 0}
    assert three.train.labels.tolist() == [kind_classes[name.split("_")[1]] for name in three.train.names]
    assert np.array_equal(three.train.images, two.train.images)
    dark = write_folder(tmp_path / "dark", {"wearing_mask": 2, "nose": 1})
    more = load_data(mapped.model_copy(update={"shifted": {"dark": str(dark)}}), workers=1)
    assert set(more.shifted) == {"offcentre", "lowlight", "patterns", "dark"}
    assert sorted(more.shifted["dark"].labels.tolist()) == [0, 2, 2]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"classes": {"hat": "x"}}, "must be a kind of face, but there is no hat; there are: chin, masked"),
        ({"classes": {"masked": "not_wearing_mask"}}, "must have 2 to 1000 classes, but has 1"),
        ({"shifted": {"lowlight": "."}}, "shifted/lowlight is there already"),
    ],
)
def test_faulty_words_for_faces_are_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(DataSpec(image_size_px=16, count=80, **change))
