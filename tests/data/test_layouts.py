"""Folders are read as splits, classes or shifted sets by what they are called and what lies in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from study.config.study_config import DataSpec
from study.data import load_data
from study.data.folder_layout import split_names
from study.data.image_folder import plan_folder
from study.errors import DataError


def make(root: Path, *folders: str, count: int = 5) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        for at in range(count):
            Image.new("RGB", (16, 16), (at, 7, 7)).save(root / folder / f"{at}.png")
    return root


def sizes(root: Path, **more: object) -> tuple[dict[str, int], tuple[str, ...]]:
    plan = plan_folder(DataSpec(source="folder", path=str(root), **more))
    return {name: len(files) for name, files in plan.sets.items()}, plan.classes


@pytest.mark.parametrize(
    "names, splits",
    [
        ("Training Testing Validation", "train test val"),
        ("TRAIN VAL TEST", "train val test"),
        ("seg_train seg_test seg_pred", "train test -"),
        ("training_set test_set dev-set", "train test val"),
        ("trainset valset testset", "train val test"),
        ("x_train x_test images_eval", "train test val"),
        ("train-images val-images holdout", "train val test"),
        ("TrainingData dataset.train train2017", "train train train"),
        ("asl_alphabet_train asl_alphabet_test", "train test"),
        ("train_station test_tube bullet train", "- - - train"),
        ("invalid retest devil contest trainer", "- - - - -"),
        ("crash_test dummy", "- -"),
    ],
)
def test_split_folders_have_many_names(names: str, splits: str) -> None:
    split = names.split(" ")
    assert [split_names(split).get(name, "-") for name in split] == splits.split()


@pytest.mark.parametrize(
    "train, val, test",
    [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "Valid", "TEST"),
        ("seg_train/seg_train", "seg_dev/seg_dev", "seg_test/seg_test"),
        ("training_set/training_set", "val_set", "test_set/test_set"),
        ("images/train", "images/val", "images/test"),
        ("archive/dataset/train/train", "archive/dataset/val", "archive/dataset/test/images"),
        ("train/images", "val/images", "holdout/images"),
    ],
)
def test_split_layouts_are_found(tmp_path: Path, train: str, val: str, test: str) -> None:
    root = make(tmp_path, *(f"{split}/{name}" for split in (train, val, test) for name in ("cat", "dog")))
    counts, classes = sizes(root)
    assert counts == {"train": 10, "val": 10, "test": 10}
    assert classes == ("cat", "dog")
    plan = plan_folder(DataSpec(source="folder", path=str(root)))
    assert {name: files[0].file.name for name, files in plan.sets.items()} == {
        "train": f"{train}/cat/0.png", "val": f"{val}/cat/0.png", "test": f"{test}/cat/0.png",
    }  # fmt: skip


@pytest.mark.parametrize("train, test", [("Training", "Testing"), ("seg_train/seg_train", "seg_test/seg_test")])
@pytest.mark.parametrize("group_by", [None, r"/(\d)\.png"])
def test_val_is_dealt_out_of_train_where_only_train_and_test_are_there(
    tmp_path: Path, train: str, test: str, group_by: str | None
) -> None:
    root = make(tmp_path, f"{train}/cat", f"{train}/dog", count=8)
    make(tmp_path, f"{test}/cat", f"{test}/dog", count=3 if group_by is None else 0)
    if group_by is not None:
        for name in ("cat", "dog"):
            Image.new("RGB", (16, 16)).save(tmp_path / test / name / "9.png")
    plan = plan_folder(DataSpec(source="folder", path=str(root), group_by=group_by))
    names = {split: {each.file.name for each in files} for split, files in plan.sets.items()}
    assert {split: len(of_split) for split, of_split in names.items()} == {
        "train": 12, "val": 4, "test": 6 if group_by is None else 2,
    }  # fmt: skip
    assert not names["train"] & names["val"]
    assert [file.label for file in plan.sets["val"]].count(0) == 2
    assert all(name.startswith(train) for name in names["val"])
    assert "4 of the 16 training pictures are dealt out to val" in plan.notices[0]
    assert plan == plan_folder(DataSpec(source="folder", path=str(root), group_by=group_by))


@pytest.mark.parametrize(
    "folders",
    [
        ("cat", "dog", "test"),
        ("cat", "shifted"),
        ("invalid", "valid"),
        ("cat", "dog", "shifted", "test", "train", "valid"),
        ("car", "plane", "train"),
        ("prod/monday", "test/monday", "test/tuesday"),
        ("archive/cat", "archive/test"),
        ("train station", "test tube"),
    ],
)
def test_classes_may_be_called_as_splits_are(tmp_path: Path, folders: tuple[str, ...]) -> None:
    counts, classes = sizes(make(tmp_path, *folders))
    assert classes == tuple(sorted({Path(folder).parts[folder.startswith("archive")] for folder in folders}))
    assert sum(counts.values()) == 5 * len(folders)


@pytest.mark.parametrize(
    "folders, message",
    [
        (("Training/a", "Training/b", "Testing/c", "Testing/d"), r"has Testing, Training but no val folder \(val"),
        (("train/a", "train/b"), r"has train but no val folder .* or set data.path to .*/train to have it dealt out"),
        (("test/a", "test/b", "learn/a", "learn/b"), r"has test but no train folder .*beside learn.*data.classes"),
        (("train/cat", "train/dog", "more"), r"has train but no val folder .*\(beside more\)"),
        (("train/cat", "train/dog", "val"), "has train but no val folder .*; val has pictures but no class folders"),
        (("train", "test"), "has test, train, which look like splits but have no class folders"),
        (("TRAIN", "VAL", "TEST"), "look like splits but have no class folders.*data.classes: {TEST: TEST, TRAIN"),
        (("train/cat", "val/cat", "valid/cat"), "one val folder, but has val and valid; move the others"),
        (("a/train", "a/test", "b/train", "b/test"), r"has its splits below the classes \(a/test, a/train\)"),
        (("train/cat", "train/dog", "val/cat", "val/dog", "shifted"), "shifted must hold <name>/<class>/"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        sizes(make(tmp_path, *folders))


def test_an_empty_split_folder_is_named(tmp_path: Path) -> None:
    make(tmp_path, "train/cat", "train/dog")
    (tmp_path / "Validation" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has train but no val folder .*; Validation has no pictures"):
        sizes(tmp_path)


def test_a_declared_class_is_one_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, "train/a", "train/b", "test")
    counts, classes = sizes(tmp_path, classes={"train": "train", "test": "no train"})
    assert (counts, classes) == ({"train": 9, "val": 3, "test": 3}, ("no train", "train"))


def test_what_lies_beside_the_splits_is_counted(tmp_path: Path) -> None:
    make(tmp_path, "train/a", "train/b", "val/a", "val/b", "test", "extra/deep")
    Image.new("RGB", (16, 16)).save(tmp_path / "train" / "stray.png")
    bundle = load_data(DataSpec(source="folder", path=str(tmp_path), image_size_px=16), workers=1)
    assert bundle.summary.sizes == {"train": 10, "val": 10, "test": 0}
    (notice,) = bundle.notices
    assert notice.startswith("files not read: 11 (")
    for part in ("beside the splits in test 5", "beside the splits in extra 5", "in no class folder 1"):
        assert part in notice


def test_one_name_in_two_unicode_forms_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "Caf\u00e9", "Cafe\u0301", "tea")
    with pytest.raises(DataError, match=r"'Cafe\\u0301' and 'Caf\\xe9' are one name in two Unicode forms"):
        sizes(tmp_path)
    _, classes = sizes(tmp_path, classes={"Cafe\u0301": "Caf\u00e9"})
    assert classes == ("Caf\u00e9", "tea")
    make(tmp_path / "splits", "train/Caf\u00e9", "train/tea", "val/Cafe\u0301", "val/tea")
    with pytest.raises(DataError, match="two Unicode forms"):
        sizes(tmp_path / "splits")


def test_classes_that_differ_in_case_are_noted(tmp_path: Path) -> None:
    bundle = load_data(DataSpec(source="folder", path=str(make(tmp_path, "Cat", "cat")), image_size_px=16), workers=1)
    assert bundle.notices == ("classes Cat and cat differ in case alone; data.classes can make them one",)
