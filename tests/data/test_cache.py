"""Images are decoded once, and a changed file or a damaged cache is noticed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import study.data.cache
import study.data.image_folder
import study.data.parallel_decode
from study.config.study_config import DataSpec
from study.data import DataBundle, load_data
from study.data.cache import load_entry, release_pages, save_entry
from study.data.dataset import ImageSet
from study.data.decode import Picture

SIZE = 16


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    rng = np.random.default_rng(0)
    for at in range(20):
        path = tmp_path / "pictures" / "ab"[at % 2] / f"{at:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(path)
    return DataSpec(source="folder", path=str(tmp_path / "pictures"), image_size_px=SIZE)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List every file that is decoded."""
    files: list[Path] = []
    real = study.data.parallel_decode.read_picture

    def read_picture(path: Path, *how: object) -> Picture:
        files.append(path)
        return real(path, *how)

    monkeypatch.setattr(study.data.parallel_decode, "read_picture", read_picture)
    return files


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


def assert_same(bundle: DataBundle, other: DataBundle) -> None:
    assert bundle.summary == other.summary
    assert bundle.classes == other.classes
    assert list(bundle.shifted) == list(other.shifted)
    for split in ("train", "val", "test"):
        mine, theirs = getattr(bundle, split), getattr(other, split)
        assert mine.names == theirs.names
        assert np.array_equal(mine.images, theirs.images)
        assert np.array_equal(mine.labels, theirs.labels)


def held_in_memory(bundle: DataBundle) -> DataBundle:
    """Copy the images of a bundle, which are those of the cache's files otherwise."""

    def copy(images: ImageSet) -> ImageSet:
        return replace(images, images=images.images.copy())

    return replace(bundle, train=copy(bundle.train), val=copy(bundle.val), test=copy(bundle.test))


def test_the_second_time_nothing_is_decoded(cache: Path, spec: DataSpec, decoded: list[Path]) -> None:
    told: list[tuple[str, int, int]] = []
    first = load_data(spec, on_progress=lambda *what: told.append(what))
    assert len(decoded) == 20
    assert told[-1] == ("decoding", 20, 20)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    told.clear()
    again = load_data(spec, on_progress=lambda *what: told.append(what))
    assert len(decoded) == 20
    assert told == []
    assert_same(first, again)
    assert type(again.train.images) is np.ndarray
    for bundle in (first, again):
        with pytest.raises(ValueError, match="read-only"):
            bundle.train.images[0] = 0
    assert [path.name for path in cache.iterdir()] == [path.name for path in entries(cache)]


def test_a_set_without_test_images_is_cached(cache: Path, spec: DataSpec, decoded: list[Path]) -> None:
    spec = spec.model_copy(update={"fractions": (0.8, 0.2, 0.0)})
    assert_same(load_data(spec), load_data(spec))
    assert len(decoded) == 20


def test_another_dealing_of_the_same_files_is_another_entry(
    cache: Path, spec: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, deal = load_data(spec), study.data.image_folder.assign_splits
    monkeypatch.setattr(
        study.data.image_folder, "assign_splits", lambda names, shares, seed: deal(names, shares, seed + 1)
    )
    assert load_data(spec).train.names != first.train.names
    assert len(entries(cache)) == 2


def change_pixels(root: Path) -> None:
    # Same size in bytes: only the time tells.
    path = root / "a" / "00.png"
    Image.new("RGB", (SIZE, SIZE)).save(path)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def grow_unnoticed(root: Path) -> None:
    # Same time: only the size tells.
    path = root / "a" / "00.png"
    stat = path.stat()
    path.write_bytes(path.read_bytes() + b"more")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": change_pixels,
    "grown": grow_unnoticed,
    "added": lambda root: shutil.copy(root / "a" / "00.png", root / "a" / "new.png"),
    "removed": lambda root: (root / "a" / "00.png").unlink(),
    "renamed": lambda root: (root / "a" / "00.png").rename(root / "a" / "zz.png"),
    "relabelled": lambda root: (root / "a" / "00.png").rename(root / "b" / "00.png"),
    "touched": lambda root: os.utime(root / "a" / "00.png"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_file_is_read_again(
    change: Callable[[Path], object], cache: Path, spec: DataSpec, decoded: list[Path]
) -> None:
    load_data(spec)
    decoded.clear()
    change(Path(spec.path or ""))
    load_data(spec)
    assert len(decoded) >= 19


CHANGED_SETTINGS: list[dict[str, object]] = [
    {"image_size_px": 20},
    {"seed": 1},
    {"fractions": (0.5, 0.3, 0.2)},
    {"resize": "pad"},
    {"classes": {"a": "c"}},
    {"stratify": False},
    {"group_by": "[0-9]+"},
]


@pytest.mark.parametrize("change", CHANGED_SETTINGS)
def test_another_setting_is_another_entry(change: dict[str, object], cache: Path, spec: DataSpec) -> None:
    load_data(spec)
    load_data(spec.model_copy(update=change))
    assert len(entries(cache)) == 2


def flip_a_byte(file: Path) -> None:
    contents = bytearray(file.read_bytes())
    contents[-5] ^= 1
    file.write_bytes(contents)


def edit_manifest(entry: Path) -> None:
    signed = json.loads((entry / "manifest.json").read_text())
    signed["manifest"]["skipped"] = ["a/00.png: never happened"]
    (entry / "manifest.json").write_text(json.dumps(signed))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a pixel": lambda entry: flip_a_byte(entry / "0.images.npy"),
    "a label": lambda entry: flip_a_byte(entry / "1.labels.npy"),
    "images cut": lambda entry: cut(entry / "0.images.npy"),
    "images empty": lambda entry: os.truncate(entry / "0.images.npy", 0),
    "labels cut": lambda entry: cut(entry / "0.labels.npy"),
    "images gone": lambda entry: (entry / "2.images.npy").unlink(),
    "wrong type": lambda entry: np.save(entry / "0.images.npy", np.zeros((12, SIZE, SIZE, 3))),
    "wrong shape": lambda entry: np.save(entry / "0.images.npy", np.zeros((12, SIZE, SIZE), np.uint8)),
    "manifest cut": lambda entry: cut(entry / "manifest.json"),
    "manifest gone": lambda entry: (entry / "manifest.json").unlink(),
    "manifest of another kind": lambda entry: (entry / "manifest.json").write_text("[]"),
    "manifest changed": edit_manifest,
    "everything gone": lambda entry: [path.unlink() for path in entry.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_built_again(
    damage: Callable[[Path], object],
    cache: Path,
    spec: DataSpec,
    decoded: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = held_in_memory(load_data(spec))
    (entry,) = entries(cache)
    damage(entry)
    decoded.clear()
    assert_same(load_data(spec), first)
    assert len(decoded) == 20
    assert caplog.text.count("is damaged and is built again") == 1
    assert_same(load_data(spec), first)
    assert len(decoded) == 20
    assert list(cache.iterdir()) == [entry]


def test_writers_at_the_same_time_do_not_disturb_each_other(cache: Path, spec: DataSpec) -> None:
    bundles: list[DataBundle] = []
    barrier = threading.Barrier(6)
    first = held_in_memory(load_data(spec))
    (entry,) = entries(cache)

    def write(damaged: bool) -> None:
        barrier.wait()
        save_entry(entry, first)
        kept = load_entry(entry)
        assert kept is not None or damaged
        bundles.extend([kept] if kept else [])

    for damaged in (False, True):
        shutil.rmtree(entry)
        if damaged:
            entry.mkdir()
            (entry / "manifest.json").write_text("{}")
        threads = [threading.Thread(target=write, args=(damaged,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = load_entry(entry)
        assert kept is not None
        assert_same(kept, first)
        assert list(cache.iterdir()) == [entry]
    assert len(bundles) >= 6


def test_an_interrupted_writer_leaves_no_entry(cache: Path, spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study.data.cache, "write_text_atomic", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_data(spec)
    assert list(cache.iterdir()) == []
    load_data(spec)
    assert len(entries(cache)) == 1


def test_leftovers_of_killed_writers_are_removed_after_a_day(cache: Path, spec: DataSpec) -> None:
    old, fresh = cache / ".folder-1.x.part", cache / ".folder-2.y.part"
    for leftover in (old, fresh):
        leftover.mkdir(parents=True)
        (leftover / "0.images.npy").write_bytes(b"half")
    os.utime(old, (0, 0))
    load_data(spec)
    assert not old.exists()
    assert fresh.exists()


def test_a_cache_that_cannot_be_written_is_only_logged(
    tmp_path: Path, spec: DataSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(load_data(spec).train) == 12
    assert "could not be cached" in caplog.text


def mapped_bytes(folder: Path) -> tuple[int, int]:
    """Return how many bytes of the files below a folder this process maps, and how many of them are in its memory."""
    sizes, inside = {"Size:": 0, "Rss:": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if first in sizes:
            sizes[first] += int(rest[0]) * 1024 if inside else 0
        elif "-" in first and ":" not in first:
            inside = str(folder) in line
    return sizes["Size:"], sizes["Rss:"]


def test_images_are_mapped_from_the_cache_at_once_and_their_pages_can_be_freed(cache: Path, spec: DataSpec) -> None:
    first = load_data(spec)
    again = load_data(spec)
    for bundle in (first, again):
        pixels = bundle.train.images.copy()
        size, resident = mapped_bytes(cache)
        assert size >= resident > 0
        release_pages(first)
        release_pages(again)
        assert mapped_bytes(cache)[1] == 0
        assert np.array_equal(bundle.train.images, pixels)
        assert not bundle.train.images.flags.writeable


def test_images_that_could_not_be_cached_stay_in_memory(
    tmp_path: Path, spec: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file"))
    bundle = load_data(spec)
    release_pages(bundle)
    assert len(bundle.train) == len(bundle.train.images)
    assert mapped_bytes(tmp_path) == (0, 0)
