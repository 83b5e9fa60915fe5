"""A folder of pictures becomes the right splits, classes and errors."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.config.study_config import DataSpec
from study.data import DataBundle, load_data
from study.data.image_folder import plan_folder
from study.errors import DataError

SIZE = 16


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))


def write_picture(path: Path, colour: int) -> None:
    """Write a picture whose every pixel is (colour, colour // 2, 7)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIZE, SIZE), (colour, colour // 2, 7)).save(path)


def write_folder(root: Path, counts: dict[str, int]) -> Path:
    """Write ``counts[folder]`` pictures into each folder; picture n of a folder has the colour n."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for at in range(count):
            write_picture(root / folder / f"{at:03d}.png", at)
    return root


def load(root: Path, **more: object) -> DataBundle:
    return load_data(DataSpec(source="folder", path=str(root), image_size_px=SIZE, **more), workers=2)


def split_counts(**own: int) -> dict[str, int]:
    counts = {f"{split}/{name}": 3 for split in ("train", "val", "test") for name in ("cat", "dog")}
    return counts | {name.replace("__", "/"): count for name, count in own.items()}


def test_given_splits_are_kept(tmp_path: Path) -> None:
    write_folder(tmp_path, split_counts(train__dog=5) | {"shifted/dark/cat": 2, "shifted/dark/dog": 1})
    bundle = load(tmp_path)
    assert bundle.classes == ("cat", "dog")
    assert bundle.summary.sizes == {"train": 8, "val": 6, "test": 6, "shifted/dark": 3}
    assert bundle.summary.class_counts["train"] == {"cat": 3, "dog": 5}
    assert bundle.train.labels.tolist() == [0] * 3 + [1] * 5
    assert bundle.train.names == tuple(
        f"train/{name}/{at:03d}.png" for name, n in (("cat", 3), ("dog", 5)) for at in range(n)
    )
    assert bundle.train.images[:, 0, 0].tolist() == [[at, at // 2, 7] for at in (0, 1, 2, 0, 1, 2, 3, 4)]
    assert bundle.shifted["dark"].names == (
        "shifted/dark/cat/000.png",
        "shifted/dark/cat/001.png",
        "shifted/dark/dog/000.png",
    )
    assert bundle.summary.source == "folder"
    assert bundle.summary.image_size_px == SIZE
    assert bundle.summary.skipped == ()


def test_wearing_a_mask_is_label_one(tmp_path: Path) -> None:
    bundle = load(write_folder(tmp_path, {"wearing_mask": 5, "not_wearing_mask": 5}))
    assert bundle.classes == ("not_wearing_mask", "wearing_mask")
    for name, label in zip(bundle.train.names, bundle.train.labels, strict=True):
        assert label == name.startswith("wearing_mask/")


def test_fractions_are_stratified(tmp_path: Path) -> None:
    bundle = load(
        write_folder(tmp_path, {"a": 40, "b": 10, "shifted/x/a": 1, "shifted/x/b": 1}), fractions=(0.5, 0.3, 0.2)
    )
    assert bundle.summary.class_counts == {
        "train": {"a": 20, "b": 5},
        "val": {"a": 12, "b": 3},
        "test": {"a": 8, "b": 2},
        "shifted/x": {"a": 1, "b": 1},
    }
    names = [*bundle.train.names, *bundle.val.names, *bundle.test.names]
    assert len(set(names)) == 50


def test_fractions_without_a_test_split(tmp_path: Path) -> None:
    bundle = load(write_folder(tmp_path, {"a": 4, "b": 4}), fractions=(0.75, 0.25, 0.0))
    assert bundle.summary.sizes == {"train": 6, "val": 2, "test": 0}


def test_the_seed_deals_the_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 30, "b": 30})
    first, again, other = (load(tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.val.names == again.val.names
    assert first.val.names != other.val.names
    numbers = [int(name[2:5]) for name in first.train.names]
    assert numbers != list(range(len(numbers)))


def test_neither_order_on_disk_nor_workers_matter(tmp_path: Path) -> None:
    orders: list[Callable[[list[int]], None]] = [
        lambda order: None,
        lambda order: order.reverse(),
        random.Random(0).shuffle,
    ]
    bundles = []
    for at, shuffle in enumerate(orders):
        numbers = list(range(25))
        shuffle(numbers)
        for number in numbers:
            for name in "ab":
                write_picture(tmp_path / str(at) / name / f"{number:03d}.png", number + 100 * (name == "b"))
        spec = DataSpec(source="folder", path=str(tmp_path / str(at)), image_size_px=SIZE)
        bundles.append(load_data(spec, workers=at + 1))
    assert len({bundle.summary.fingerprint for bundle in bundles}) == 1
    for bundle in bundles[1:]:
        assert bundle.train.names == bundles[0].train.names
        assert np.array_equal(bundle.train.images, bundles[0].train.images)


def test_what_is_no_picture_is_ignored_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, {"a": 5, "b": 5, ".hidden": 5, "__MACOSX": 5, "a/.thumbnails": 5})
    for name in ("a/.DS_Store", "a/Thumbs.db", "b/notes.txt", "b/more.TXT", "b/.001.png", "readme.md"):
        (tmp_path / name).write_text("no picture")
    with caplog.at_level(logging.INFO, "study.data"):
        bundle = load(tmp_path)
    assert sum(bundle.summary.sizes.values()) == 10
    assert "files ignored: 6" in caplog.text
    assert ".txt 2" in caplog.text


def test_nested_folders_are_walked(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/2020/may": 3, "a": 2, "b": 5})
    write_picture(tmp_path / "b" / "LOUD.PNG", 1)
    bundle = load(tmp_path)
    names = {*bundle.train.names, *bundle.val.names, *bundle.test.names}
    assert "a/2020/may/002.png" in names
    assert "b/LOUD.PNG" in names
    assert len(names) == 11


def test_links_are_followed_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"photos": 4})
    data = write_folder(tmp_path / "data", {"a": 3, "b": 5})
    (data / "a" / "more").symlink_to(tmp_path / "elsewhere" / "photos")
    (data / "a" / "same").symlink_to(tmp_path / "elsewhere" / "photos")
    (data / "a" / "loop").symlink_to(data / "a")
    (data / "a" / "itself").symlink_to(data / "a" / "itself")
    (data / "a" / "one.png").symlink_to(tmp_path / "elsewhere" / "photos" / "000.png")
    assert sum(load(data).summary.class_counts[split]["a"] for split in ("train", "val", "test")) == 3 + 4 + 1


def test_file_names_may_be_in_any_script(tmp_path: Path) -> None:
    write_folder(tmp_path, {"猫": 4, "犬": 4})
    write_picture(tmp_path / "猫" / "ねこ é ☃.png", 9)
    write_picture(Path(os.fsdecode(os.fsencode(tmp_path / "猫") + b"/caf\xe9.png")), 9)
    bundle = load(tmp_path)
    assert bundle.classes == ("犬", "猫")
    names = {*bundle.train.names, *bundle.val.names, *bundle.test.names}
    assert {"猫/ねこ é ☃.png", "猫/caf\\udce9.png"} <= names
    assert load(tmp_path).train.names == bundle.train.names


def test_a_broken_picture_is_listed_and_skipped(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 100, "train/b": 100, "val/a": 50, "val/b": 50})
    (tmp_path / "train/a/050.png").write_bytes(b"")
    (tmp_path / "val/b/007.png").write_bytes((tmp_path / "val/b/008.png").read_bytes()[:60])
    (tmp_path / "train/a/051.png").unlink()
    (tmp_path / "train/a/051.png").symlink_to("nowhere.png")
    bundle = load(tmp_path)
    assert [line.split(":")[0] for line in bundle.summary.skipped] == [
        "train/a/050.png",
        "train/a/051.png",
        "val/b/007.png",
    ]
    assert bundle.summary.skipped[0] == "train/a/050.png: the file is empty"
    (tmp_path / "train/a/050.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    assert "050.png: a Git LFS pointer, not the picture itself; get it with" in load(tmp_path).summary.skipped[0]
    assert bundle.summary.sizes == {"train": 198, "val": 99, "test": 0}
    assert "train/a/050.png" not in bundle.train.names
    assert bundle.train.images[:, 0, 0, 0].tolist() == [*range(50), *range(52, 100), *range(100)]
    assert bundle.train.labels.tolist() == [0] * 98 + [1] * 100


def test_exactly_one_percent_broken_is_allowed_and_more_is_not(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 50, "train/b": 50, "val/a": 50, "val/b": 50})
    for at in range(12):
        (tmp_path / f"train/a/{at:03d}.png").write_text("broken")
        if at == 1:
            assert len(load(tmp_path).summary.skipped) == 2
    with pytest.raises(DataError, match=r"at most 1% .* but 12 of 200 are") as caught:
        load(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  train/a/000.png: not a picture in one of the formats JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF"
    assert lines[11:] == ["  and 2 more", "repair them or move them out of the data folder"]


def test_a_class_whose_pictures_are_all_broken_is_missing(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 100, "train/b": 100, "val/a": 100, "val/b": 1})
    (tmp_path / "val/b/000.png").write_bytes(b"")
    with pytest.raises(DataError, match="val has no image of class 'b'"):
        load(tmp_path)


Faulty = tuple[str, dict[str, int], str]
FAULTS: Iterable[Faulty] = [
    ("a class missing from a split", split_counts() | {"val/dog": 0}, "val has no image of class 'dog'"),
    ("a class that differs", split_counts() | {"test/dgo": 3}, "train has no image of class 'dgo'"),
    ("a shifted set without a picture", split_counts() | {"shifted/x/cat": 0}, "at least one picture .* shifted/x has"),
    ("a shifted set with another class", split_counts() | {"shifted/x/dgo": 1}, "classes of training only .* 'dgo'"),
    ("no val", {"train/a": 2, "train/b": 2}, r"has train but no val folder \(val or valid or validation\)"),
    ("no train", {"test/a": 2, "test/b": 2}, "has test but no train folder"),
    ("two vals", split_counts() | {"valid/cat": 1}, "one val folder, but has val and valid"),
    ("one class", {"a": 9}, "2 to 1000 classes, but has 1: a"),
    ("one class in splits", {"train/a": 9, "val/a": 9}, "2 to 1000 classes, but has 1: a"),
    ("too few to split", {"a": 9, "b": 2}, "class 'b' cannot be split: 3 splits need at least 3 images .* got 2"),
    ("an empty folder", {}, "no pictures found"),
    ("no pictures", {"a": 0, "b": 0}, r"no pictures found .* DIR/<class>/\*"),
]


@pytest.mark.parametrize("counts, message", [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_faulty_folder_is_an_error_that_names_it(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write_folder(tmp_path, counts))


def test_every_missing_class_is_named_at_once(tmp_path: Path) -> None:
    write_folder(tmp_path, split_counts() | {"val/dog": 0, "test/cat": 0})
    with pytest.raises(DataError, match="val has no image of class 'dog'; test has no image of class 'cat'"):
        load(tmp_path)


def test_pictures_of_another_format_are_named_as_ignored(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no pictures found .*\.heic 1"):
        load(tmp_path)


def test_a_missing_folder_names_its_neighbours(tmp_path: Path) -> None:
    write_folder(tmp_path, {"masks": 1})
    with pytest.raises(DataError, match=r"existing folder, but got .*has the folders: masks"):
        load(tmp_path / "mask")
    with pytest.raises(DataError, match="which is a file"):
        load(tmp_path / "masks" / "000.png")
    with pytest.raises(DataError, match="does not exist either"):
        load(tmp_path / "no" / "such")
    with pytest.raises(DataError, match=r"needs data.path"):
        load_data(DataSpec(source="folder"))


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    real = os.scandir

    def scandir(folder: Path | int) -> object:
        if not isinstance(folder, int) and Path(folder).name == "b":  # a number where pytest deletes the folder
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr("study.data.image_files.os.scandir", scandir)
    with pytest.raises(DataError, match=r"cannot read the folder .*/b: Permission denied"):
        load(tmp_path)


def test_a_plan_opens_no_picture(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 0, "b": 0})
    for at in range(6):
        (tmp_path / "ab"[at % 2] / f"{at}.jpg").write_bytes(b"no picture")
    plan = plan_folder(DataSpec(source="folder", path=str(tmp_path)))
    assert {name: len(files) for name, files in plan.sets.items()} == {"train": 2, "val": 2, "test": 2}


def test_fractions_must_add_up(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must add up to 1, but got .* sum 0.9"):
        load(write_folder(tmp_path, {"a": 9, "b": 9}), fractions=(0.5, 0.2, 0.2))
