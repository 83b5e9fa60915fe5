"""Faces are found, with landmarks where they are, in every form that a photograph comes in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from photo_kit import Photo, Placed, landmarks, photograph, portrait, save
from PIL import Image

from study.data.decode import TO_UPRIGHT, read_photo
from study.errors import DataError
from study.photos import detector as module
from study.photos.detector import MODEL, MODEL_SHA256, FaceDetector


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def test_the_model_that_ships_is_the_one_that_was_checked() -> None:
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == MODEL_SHA256
    assert "MIT License" in (MODEL.parent / "LICENSE").read_text()


@pytest.mark.parametrize("contents", [None, b"onnx"], ids=["missing", "damaged"])
def test_a_model_that_is_not_the_shipped_one_is_refused(
    contents: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MODEL", tmp_path / "model.onnx")
    module._model.cache_clear()
    if contents is not None:
        (tmp_path / "model.onnx").write_bytes(contents)
    with pytest.raises(DataError, match="install the package again"):
        FaceDetector()
    module._model.cache_clear()


@pytest.mark.parametrize("face", range(10))
def test_a_face_is_found_with_its_landmarks(detector: FaceDetector, face: int) -> None:
    placed = Placed(face, 150, 90, 224)
    detected = detector.detect(photograph(640, 480, [placed]))
    assert len(detected) == 1
    true = landmarks(placed)
    eye_distance = np.linalg.norm(true[0] - true[1])
    assert np.abs(detected[0].landmarks - true).max() < 0.35 * eye_distance
    assert 0.8 < detected[0].score <= 1
    box = detected[0].box
    assert box.left < true[:, 0].min()
    assert box.right > true[:, 0].max()
    assert box.top < true[:, 1].min()
    assert box.bottom > true[:, 1].max()


def test_faces_come_largest_first(detector: FaceDetector) -> None:
    faces = [Placed(0, 20, 30, 120), Placed(1, 160, 40, 300), Placed(2, 470, 60, 160)]
    detected = detector.detect(photograph(640, 480, faces))
    assert [round(face.landmarks[2, 0] // 160) for face in detected] == [1, 3, 0]
    assert [face.size_px for face in detected] == sorted((face.size_px for face in detected), reverse=True)


def test_two_hundred_faces_in_one_photograph(detector: FaceDetector) -> None:
    faces = [Placed(at % 10, 110 * (at % 20), 110 * (at // 20), 110) for at in range(200)]
    detected = detector.detect(photograph(2200, 1100, faces))
    centres = {(int(face.landmarks[2, 0] // 110), int(face.landmarks[2, 1] // 110)) for face in detected}
    assert len(centres) >= 196
    assert len(detected) <= 202


def test_a_small_face_in_a_large_photograph(detector: FaceDetector) -> None:
    placed = Placed(0, 4100, 2900, 56)
    detected = detector.detect(photograph(6000, 4000, [placed]))
    assert len(detected) == 1
    assert 30 < detected[0].size_px < 50
    assert np.abs(detected[0].landmarks - landmarks(placed)).max() < 8


def test_a_face_that_fills_its_picture(detector: FaceDetector) -> None:
    face = photograph(640, 480, [Placed(0, 150, 90, 224)])
    box = detector.detect(face)[0].box
    tight = face[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
    assert len(detector.detect(np.ascontiguousarray(tight))) == 1


@pytest.mark.parametrize("kind", ["plain", "noise", "stripes", "checks"])
def test_nothing_is_found_where_there_is_no_face(detector: FaceDetector, kind: str) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:480, :640]
    field = {
        "plain": np.full((480, 640), 90),
        "noise": rng.integers(0, 256, (480, 640)),
        "stripes": 255 * (columns // 16 % 2),
        "checks": 255 * ((columns // 40 + rows // 40) % 2),
    }[kind]
    assert detector.detect(np.repeat(field[..., None], 3, axis=2).astype(np.uint8)) == []


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 10_000), (10_000, 15)])
def test_a_picture_too_small_for_a_face_is_refused(detector: FaceDetector, width: int, height: int) -> None:
    with pytest.raises(DataError, match=f"at least 16 px to hold a face, but it is {width} x {height}"):
        detector.detect(np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(16, 16), (20_000, 16), (33, 4_000)])
def test_odd_shapes_are_looked_at(detector: FaceDetector, width: int, height: int) -> None:
    assert detector.detect(np.full((height, width, 3), 200, np.uint8)) == []


@pytest.mark.parametrize(("face", "side_px", "quality"), [(0, 224, 92), (8, 280, 60), (6, 180, 75)])
def test_eight_orientations_give_one_answer(
    detector: FaceDetector, tmp_path: Path, face: int, side_px: int, quality: int
) -> None:
    upright = Image.fromarray(portrait(face, side_px))
    undone = {5: 5, 6: 8, 7: 7, 8: 6}
    answers = []
    for orientation in range(1, 9):
        method = TO_UPRIGHT.get(undone.get(orientation, orientation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        (upright if method is None else upright.transpose(method)).save(path, exif=exif, quality=quality)
        answers.append(detector.detect(read_photo(path)))
    assert [len(faces) for faces in answers] == [1] * 8
    boxes = np.array([faces[0].box for faces in answers])
    assert np.abs(boxes - boxes[0]).max() < 2


def _wide(photo: Photo) -> Image.Image:
    return Image.fromarray(photo.mean(axis=2).astype(np.uint16) * 257)


FORMS = {
    "grey.png": lambda photo: Image.fromarray(photo).convert("L"),
    "alpha.png": lambda photo: Image.fromarray(photo).convert("RGBA"),
    "wide.png": _wide,
    "cmyk.jpg": lambda photo: Image.fromarray(photo).convert("CMYK"),
    "palette.gif": lambda photo: Image.fromarray(photo).quantize(128),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_picture_gives_the_same_face(detector: FaceDetector, tmp_path: Path, name: str) -> None:
    photo = portrait()
    FORMS[name](photo).save(tmp_path / name)
    detected, plain = detector.detect(read_photo(tmp_path / name)), detector.detect(photo)
    assert len(detected) == 1
    assert np.abs(np.array(detected[0].box) - plain[0].box).max() < 8


def test_the_same_photograph_gives_the_same_faces(tmp_path: Path) -> None:
    path = save(portrait(3), tmp_path / "a.png")
    first, second = (FaceDetector().detect(read_photo(path)) for _ in range(2))
    assert first[0].box == second[0].box
    assert np.array_equal(first[0].landmarks, second[0].landmarks)
