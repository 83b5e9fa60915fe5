"""`study data crop`: every face of a folder as a picture, with a table; no picture stops it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from commands import study, study_error, study_json, study_stdout
from photo_kit import Placed, photograph, pixels, portrait, save, table
from PIL import Image

from study.data.framing import Framing, read_framing
from study.photos.detector import FaceDetector
from study.photos.faces import read_faces


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photograph of two faces, one of one, one without, in folders."""
    two = photograph(640, 480, [Placed(1, 10, 60, 200), Placed(2, 300, 60, 260)])
    save(two, tmp_path / "photos" / "train" / "a" / "two.jpg")
    save(portrait(0), tmp_path / "photos" / "val" / "b" / "one.png")
    save(np.full((90, 150, 3), 60, np.uint8), tmp_path / "photos" / "val" / "b" / "none.jpg")
    return tmp_path / "photos"


def test_every_face_is_a_picture_in_the_folder_of_its_photograph(photos: Path, tmp_path: Path) -> None:
    done = study_stdout("data", "crop", photos, tmp_path / "out", "--size", 64)
    assert "faces        3 in 3 photographs" in done
    assert "no face      1: the centre was cut out\n  val/b/none.jpg" in done
    assert files(tmp_path / "out") == [
        "contact_sheets/faces_1.jpg", "faces.csv", "framing.json", "train/a/two-1.jpg", "train/a/two-2.jpg",
        "val/b/none-0.jpg", "val/b/one-1.jpg",
    ]  # fmt: skip
    assert pixels(tmp_path / "out/train/a/two-1.jpg").shape == (64, 64, 3)
    rows = table(tmp_path / "out")
    assert [(row["source"], row["file"], row["status"]) for row in rows] == [
        ("train/a/two.jpg", "train/a/two-1.jpg", "face"),
        ("train/a/two.jpg", "train/a/two-2.jpg", "face"),
        ("val/b/none.jpg", "val/b/none-0.jpg", "no face"),
        ("val/b/one.png", "val/b/one-1.jpg", "face"),
    ]
    assert float(rows[0]["left"]) > 300 > float(rows[1]["right"])
    assert 0.5 <= float(rows[0]["score"]) <= 1
    assert float(rows[0]["left"]) < float(rows[0]["right_eye_x"]) < float(rows[0]["left_eye_x"])
    assert rows[2]["score"] == ""
    assert rows[2]["left"] == ""


def test_the_framing_lies_beside_the_pictures_and_they_are_those_of_a_prediction(photos: Path, tmp_path: Path) -> None:
    for name in ("eyes", "box"):
        out = tmp_path / name
        assert study("data", "crop", photos, out, "--framing", name).returncode == 0
        framing = read_framing(out)
        assert framing == Framing(kind=name)  # type: ignore[arg-type]
        faces = read_faces(photos / "val/b/one.png", 112, framing, FaceDetector())
        assert np.abs(pixels(out / "val/b/one-1.jpg") - faces.images[0]).mean() < 3
    boxes, eyes = (pixels(tmp_path / name / "val/b/one-1.jpg") for name in ("box", "eyes"))
    assert np.abs(boxes - eyes).mean() > 10


def test_pictures_that_cannot_be_read_are_rows_with_a_reason(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    save(portrait(0), source / "good.jpg")
    whole = (source / "good.jpg").read_bytes()
    (source / "truncated.jpg").write_bytes(whole[: len(whole) // 3])
    (source / "empty.png").write_bytes(b"")
    (source / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (source / "renamed.png").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (source / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    (source / "notes.txt").write_text("no picture")
    save(np.zeros((1, 1, 3), np.uint8), source / "pixel.png")
    save(np.zeros((10_000, 1, 3), np.uint8), source / "line.png")
    Image.new("1", (30_000, 30_000)).save(source / "bomb.png")
    answer = study_json("data", "crop", source, tmp_path / "out")
    assert (answer["photos"], answer["faces"]) == (9, 1)
    assert answer["not_read"] == {".txt": 1}
    reasons = dict(line.split(": ", 1) for line in answer["unreadable"])
    assert set(reasons) == {
        "truncated.jpg", "empty.png", "drawing.svg", "renamed.png", "page.eps", "pixel.png", "line.png", "bomb.png",
    }  # fmt: skip
    assert "decompression bomb" in reasons["bomb.png"]
    assert "empty" in reasons["empty.png"]
    assert "not a picture" in reasons["drawing.svg"]
    assert "at least 16 px" in reasons["pixel.png"]
    assert "1 x 10000" in reasons["line.png"]
    assert {row["source"]: row["reason"] for row in table(tmp_path / "out") if row["status"] == "unreadable"} == reasons
    assert [name for name in files(tmp_path / "out") if name.endswith("-1.jpg")] == ["good-1.jpg"]


def test_photographs_of_one_name_keep_their_suffix(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.png", "a.png.bmp"):
        save(portrait(0), tmp_path / "photos" / name)
    assert study("data", "crop", tmp_path / "photos", tmp_path / "out").returncode == 0
    pictures = [name for name in files(tmp_path / "out") if name.endswith("-1.jpg")]
    assert pictures == ["a.jpg-1.jpg", "a.png-1.jpg", "a.png.bmp-1.jpg", "b.png-1.jpg"]


def test_a_long_or_odd_name_is_no_error(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".png", "\x1b[31m é\n.png"):
        save(portrait(0), tmp_path / "photos" / name)
    done = study_stdout("data", "crop", tmp_path / "photos", tmp_path / "out")
    assert "\x1b" not in done
    assert len([row for row in table(tmp_path / "out") if row["status"] == "face"]) == 2


def test_one_photograph_can_be_named(tmp_path: Path) -> None:
    path = save(portrait(0), tmp_path / "anna.png")
    assert study("data", "crop", path, tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "anna-1.jpg").is_file()
    os.mkfifo(tmp_path / "pipe.png")
    answer = study_json("data", "crop", tmp_path / "pipe.png", tmp_path / "none")
    assert answer["unreadable"] == ["pipe.png: a folder, pipe or device, not a file"]


def test_outputs_and_sources_that_cannot_be_are_refused(photos: Path, tmp_path: Path) -> None:
    def refusal(source: Path, out: Path) -> str:
        return study_error("data", "crop", source, out)

    assert "must not lie among the photographs" in refusal(photos, photos / "out")
    assert "must be a new or empty folder" in refusal(photos, photos.parent)
    assert "there is no" in refusal(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    assert "no pictures found" in refusal(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert study("data", "crop", photos, tmp_path / "out", "--framing", "nose").returncode == 2


def test_the_pictures_do_not_depend_on_the_number_of_threads(photos: Path, tmp_path: Path) -> None:
    from study.photos.crop_folder import crop_folder

    for workers in (1, 3):
        crop_folder(photos, tmp_path / str(workers), 64, Framing(), workers=workers)
    for name in files(tmp_path / "1"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes(), name
