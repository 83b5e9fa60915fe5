"""A folder is looked over without being changed or refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import study, study_json
from PIL import Image

from study.config.study_config import DataSpec
from study.data.check import check_folder
from study.data.framing import Framing, write_framing
from study.errors import DataError, UsageError


def picture(seed: int, side: int = 80) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(cv2.resize(noise, (side, side + 10), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    seed = 0
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for kind in ("cat", "dog"):
            (tmp_path / "photos" / split / kind).mkdir(parents=True)
            for at in range(count):
                seed += 1
                picture(seed, 40 if seed == 1 else 80).save(tmp_path / "photos" / split / kind / f"{at}.png")
    return tmp_path / "photos"


def spec(folder: Path, **more: object) -> DataSpec:
    return DataSpec(source="folder", path=str(folder), **more)


def listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_everything_is_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "train/cat/0.txt").write_text("note")
    (photos / "train/dog/3.png").write_bytes(b"broken")
    picture(13).save(photos / "val/cat/copy.jpg", quality=70)  # train/dog/0.png: another split and another class
    before = listing(photos)
    report = check_folder(spec(photos), tmp_path / "out", workers=2)
    assert listing(photos) == before
    assert report.refusal == (
        "at most 1% of the pictures may be broken, but 1 of 49 are:\n"
        "  train/dog/3.png: not a picture in one of the formats JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF\n"
        "repair them or move them out of the data folder"
    )
    assert report.counts == {
        "train": {"cat": 12, "dog": 11},
        "val": {"cat": 7, "dog": 6},
        "test": {"cat": 6, "dog": 6},
    }
    assert report.imbalance == pytest.approx(25 / 23)
    assert report.broken == (report.refusal.splitlines()[1].strip(),)
    assert report.ignored == {".txt": 1}
    assert report.sizes is not None
    assert (report.sizes.width_px, report.sizes.height_px, report.sizes.smaller) == ((40, 80, 80), (50, 90, 90), 1)
    by_splits = {group.between: group for group in report.duplicates}
    assert {between: group.count for between, group in by_splits.items()} == {
        ("train", "val"): 1,
        ("train", "test"): 0,
        ("val", "test"): 0,
    }
    assert by_splits["train", "val"].examples == (("train/dog/0.png", "val/cat/copy.jpg"),)
    (conflict,) = report.conflicts
    assert conflict.examples == (("val/cat/copy.jpg", "train/dog/0.png"),)
    assert [Path(sheet).name for sheet in report.sheets] == ["cat.png", "dog.png"]
    sheet = np.asarray(Image.open(report.sheets[0]))
    assert sheet.shape == (4 * 66 + 2, 8 * 66 + 2, 3)
    assert (sheet[:2] == 255).all()
    assert sheet[2:66, 2:66].std() > 10


def test_a_folder_no_study_would_take_is_shown_with_the_reason(photos: Path, tmp_path: Path) -> None:
    for path in (photos / "val/dog").iterdir():
        path.unlink()
    report = check_folder(spec(photos), tmp_path / "out")
    assert report.refusal is not None
    assert "val has no image of class 'dog'" in report.refusal
    assert report.counts["val"] == {"cat": 6, "dog": 0}


def test_a_folder_without_splits_is_dealt_out(photos: Path, tmp_path: Path) -> None:
    report = check_folder(spec(photos / "train", group_by=r"(\d+)\.png"), tmp_path / "out")
    assert report.refusal is None
    assert sum(sum(of_set.values()) for of_set in report.counts.values()) == 24
    refused = check_folder(spec(photos / "train", group_by="x+"), tmp_path / "out")
    assert refused.refusal is not None
    assert "finds none in 24 of 24" in refused.refusal
    assert refused.counts == {"all": {"cat": 12, "dog": 12}}


def test_a_face_with_and_without_a_drawn_mask_may_be_alike(photos: Path, tmp_path: Path) -> None:
    picture(1, 40).save(photos / "train/dog/copy.png")
    check = ("data", "check", photos, "--out", tmp_path / "out")
    assert "nearly in cat too: one label is wrong" in study(*check).stdout
    write_framing(photos, Framing(masks="drawn"))
    assert "nearly in cat too: a face with and without a drawn mask, or one label is wrong" in study(*check).stdout


def test_nothing_is_written_into_the_folder(photos: Path, tmp_path: Path) -> None:
    for out in (photos, photos / "sheets", photos / "train" / ".." / "x"):
        with pytest.raises(UsageError, match="must not lie in the data folder"):
            check_folder(spec(photos), out)
    with pytest.raises(DataError, match="existing folder"):
        check_folder(spec(tmp_path / "nowhere"), tmp_path / "out")


def test_the_command_prints_and_exits_as_it_should(photos: Path, tmp_path: Path) -> None:
    (photos / "val/dog/0.png").write_bytes(b"broken")
    out = tmp_path / "out"
    shown = study("data", "check", photos, "--out", out)
    assert shown.returncode == 1, shown.stderr
    assert "refused      a study would not run on it: at most 1% of the pictures may be broken" in shown.stdout
    assert "47 of 48 pictures can be read, 2 classes" in shown.stdout
    assert "broken       1 (2.08%; a study takes at most 1%)\n  val/dog/0.png: not a picture" in shown.stdout
    (photos / "val/dog/0.png").unlink()
    machine = study_json("data", "check", photos, "--out", out, "--classes", "dog=animal")
    assert machine["refusal"] is None
    assert machine["classes"] == ["animal", "cat"]
    assert (out / "animal.png").is_file()
    assert study("data", "check", tmp_path / "nowhere", "--out", out).returncode == 1
    wrong = study("data", "check", photos, "--out", out, "--classes", "dog")
    assert (wrong.returncode, "--classes must be FOLDER=CLASS" in wrong.stderr) == (2, True)
    assert study("data", "check", photos, "--out", out, "--group-by", "(").returncode == 2
