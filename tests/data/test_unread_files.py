"""What a folder holds beside pictures is counted and told; contents decide where there is no extension."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import study
from PIL import Image

from study.config.study_config import DataSpec
from study.data import DataBundle, load_data
from study.data.check import check_folder
from study.engine.preparation import class_lines
from study.records import DataSummary

SIZE = 16
FAKE_HEIF = """
from PIL import Image, ImageFile

class Opened(ImageFile.ImageFile):
    format = "HEIF"
    def _open(self):
        assert self.fp.read(4) == b"heif"
        self._mode, self._size, self.tile = "RGB", (8, 8), []
    def load(self):
        self.im = Image.new("RGB", (8, 8), (9, 8, 7)).im
        return Image.Image.load(self)

def register_heif_opener():
    Image.register_open("HEIF", Opened, lambda prefix: prefix.startswith(b"heif"))
"""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    for folder in ("cat", "dog"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for at in range(5):
            Image.new("RGB", (SIZE, SIZE), (at, 7, 7)).save(tmp_path / "photos" / folder / f"{at}.png")
    return tmp_path / "photos"


def load(root: Path) -> DataBundle:
    return load_data(DataSpec(source="folder", path=str(root), image_size_px=SIZE), workers=1)


def test_a_run_is_told_what_is_not_read_and_why(photos: Path) -> None:
    for name in ("cat/a.heic", "cat/b.HEIC", "cat/notes.txt", "dog/.DS_Store", "dog/README", "stray.png"):
        (photos / name).write_bytes(b"no picture")
    os.mkfifo(photos / "cat" / "pipe.png")
    (photos / "dog" / "a.jpg").mkdir()
    expected = (
        "files not read: 7 (.heic 2: `pip install pillow-heif` to have them read, in no class folder 1, .txt 1, "
        "pipe or device 1, hidden 1, no extension 1: no picture inside)"
    )
    assert load(photos).notices == (expected,)
    assert load(photos).notices == (expected,), "the same with the images from the cache"


def test_a_picture_without_an_extension_is_read(photos: Path) -> None:
    for at, form in enumerate(("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")):
        Image.new("RGB", (SIZE, SIZE), (at, at, 99)).save(photos / "cat" / f"frame.{at:04d}", format=form)
    Image.new("RGB", (SIZE, SIZE)).save(photos / "dog" / "last.avif")
    assert sum(load(photos).summary.sizes.values()) == 10 + 7 + 1


def test_heic_is_read_where_its_package_is_installed(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pillow_heif.py").write_text(FAKE_HEIF)
    (photos / "cat" / "x.heic").write_bytes(b"heif")
    code = (
        "from study.config.study_config import DataSpec; from study.data import load_data; "
        f"data = load_data(DataSpec(source='folder', path={str(photos)!r}, image_size_px=16), workers=1); "
        "print(sum(data.summary.sizes.values()), data.notices, data.summary.skipped)"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "11 () ()\n"


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits, is_dark", [(10, True), (12, True), (14, True), (16, False)])
def test_pictures_that_use_the_lower_of_16_bit_are_told(
    photos: Path, colour: bool, suffix: str, bits: int, is_dark: bool
) -> None:
    draw = np.random.default_rng(0)
    shape = (SIZE, SIZE, 3) if colour else (SIZE, SIZE)
    for at in range(4):
        cv2.imwrite(str(photos / "cat" / f"raw{at}.{suffix}"), draw.integers(0, 2**bits, shape).astype(np.uint16))
    notices = load(photos).notices
    assert bool(notices) == is_dark
    if is_dark:
        assert notices[0].startswith("4 of 4 pictures of 16 bit come out nearly black, at most ")
        assert load(photos).notices == notices, "the cache remembers"


def test_a_name_that_does_not_print_is_shown_escaped(photos: Path, tmp_path: Path) -> None:
    (photos / "cat").rename(photos / "ca\n\x1b[31mt")
    (photos / "dog").rename(photos / "do\u202eg")
    (photos / "do\u202eg" / "b\tad.png").write_bytes(b"x")
    os.rename(photos / "do\u202eg" / "1.png", os.fsencode(photos / "do\u202eg") + b"/caf\xe9.png")
    shown = study("data", "check", photos, "--out", tmp_path / "out")
    assert shown.returncode == 1, shown.stderr
    assert "do\\u202eg/b\\tad.png: not a picture" in shown.stdout
    assert "ca\\n\\x1b[31mt" in shown.stdout
    assert not set(shown.stdout) & set("\x1b\t\u202e")


def test_a_layout_that_cannot_be_told_is_a_refusal_too(photos: Path, tmp_path: Path) -> None:
    (photos / "cat").rename(photos / "train")
    (photos / "dog").rename(photos / "test")
    report = check_folder(DataSpec(source="folder", path=str(photos)), tmp_path / "out")
    assert report.refusal is not None
    assert "look like splits but have no class folders" in report.refusal
    assert (report.total, report.counts, report.classes) == (0, {}, ())


def test_classes_are_counted_in_a_line_for_each_set() -> None:
    few = {"a\tb": 3, "c": 4}
    many = {f"c{at}": 10 + at for at in range(100)}
    summary = DataSummary(
        "folder", "", 16, (), {"train": 7, "val": 5950, "test": 0}, {"train": few, "val": many, "test": {}}
    )
    assert list(class_lines(summary)) == [
        "train: 7 images: a\\tb 3, c 4",
        "val: 5950 images: 100 classes, from 10 (c0) to 109 (c99)",
    ]
