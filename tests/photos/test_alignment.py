"""Faces are cut as the framing says, however they lie in the photograph."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from photo_kit import Placed, landmarks, photograph, portrait

from study.data.framing import FRAMING_FILE, Framing, parse_framing, read_framing, write_framing
from study.errors import DataError
from study.photos.alignment import FaceSquare, centre_square, cut_square, face_square
from study.photos.detector import Box, DetectedFace, FaceDetector

EYES, BOX = Framing(), Framing(kind="box")


def face(roll_rad: float = 0.0, scale: float = 40.0, centre: tuple[float, float] = (300.0, 200.0)) -> DetectedFace:
    """A frontal face: eyes at height 0, the mouth at 1, turned about ``centre``."""
    points = np.array([(-0.47, 0.0), (0.47, 0.0), (0.0, 0.6), (-0.37, 1.0), (0.37, 1.0)])
    cosine, sine = math.cos(roll_rad), math.sin(roll_rad)
    turned = points @ np.array(((cosine, sine), (-sine, cosine))) * scale + centre
    low, high = turned.min(axis=0) - scale, turned.max(axis=0) + scale
    return DetectedFace(Box(*low.tolist(), *high.tolist()), turned, 0.9)


@pytest.mark.parametrize("roll_rad", [0.0, 0.3, -1.2, 3.0])
def test_eyes_and_mouth_lie_where_the_framing_says(roll_rad: float) -> None:
    square = face_square(face(roll_rad), EYES)
    assert square.side_px == pytest.approx(40 / 0.245)
    assert math.remainder(square.roll_rad - roll_rad, 2 * math.pi) == pytest.approx(0, abs=1e-9)
    inside = square.to_square(face(roll_rad).landmarks)
    eyes, mouth = inside[:2].mean(axis=0), inside[3:].mean(axis=0)
    assert (eyes + mouth) / 2 == pytest.approx((0.50, 0.59))
    assert mouth - eyes == pytest.approx((0.0, 0.245), abs=1e-9)
    assert inside[0, 1] == pytest.approx(inside[1, 1])
    assert inside[0, 0] < inside[1, 0]
    assert square.to_photo(inside) == pytest.approx(face(roll_rad).landmarks)


def test_the_box_is_a_square_around_its_middle_with_its_margin() -> None:
    detected = DetectedFace(Box(10, 20, 50, 80), face().landmarks, 0.9)
    assert face_square(detected, BOX) == FaceSquare((30, 50), 60, 0)
    assert face_square(detected, Framing(kind="box", margin=0.2)) == FaceSquare((30, 50), pytest.approx(84), 0)


def test_landmarks_that_fall_together_give_no_tiny_square() -> None:
    detected = DetectedFace(Box(0, 0, 100, 120), np.full((5, 2), 50.0), 0.6)
    assert face_square(detected, EYES).side_px == pytest.approx(0.2 * 120 / 0.245)


@pytest.mark.parametrize("size_px", [64, 200, 500])
@pytest.mark.parametrize("roll_rad", [0.0, 0.5])
def test_a_mark_in_the_photograph_lies_in_its_place_in_the_square(size_px: int, roll_rad: float) -> None:
    square = FaceSquare((310.0, 205.0), 200.0, roll_rad)
    x, y = square.to_photo(np.array(((0.25, 0.7),)))[0]
    photo = np.zeros((400, 600, 3), np.uint8)
    photo[round(y) - 5 : round(y) + 5, round(x) - 5 : round(x) + 5] = 255
    picture = cut_square(photo, square, size_px)
    rows, columns = np.nonzero(picture[..., 0] > 128)
    assert picture.shape == (size_px, size_px, 3)
    assert (columns.mean() + 0.5) / size_px == pytest.approx(0.25, abs=0.006)
    assert (rows.mean() + 0.5) / size_px == pytest.approx(0.7, abs=0.006)


def test_a_shrunk_square_is_the_mean_of_its_pixels() -> None:
    checks = np.indices((800, 800)).sum(axis=0) % 2 * 255
    photo = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    picture = cut_square(photo, FaceSquare((400.0, 400.0), 600.0, 0.2), 60)
    assert np.abs(picture.astype(float) - 127.5).max() < 16


@pytest.mark.parametrize("side_px", [130.0, 200.0, 610.0])
@pytest.mark.parametrize("shift_px", [0.0, 0.3, 0.5])
def test_every_pixel_of_a_shrunk_square_is_the_mean_over_its_area(side_px: float, shift_px: float) -> None:
    photo = portrait(2, 400)
    square = FaceSquare((400.0 + shift_px, 350.0 - shift_px), side_px, 0.2)
    fine = (np.stack(np.indices((576, 576))[::-1], axis=-1).reshape(-1, 2) + 0.5) / 576
    columns, rows = np.floor(square.to_photo(fine)).astype(int).T
    means = photo[rows, columns].reshape(48, 12, 48, 12, 3).mean(axis=(1, 3))  # [576 * 576, 3] -> [48, 48, 3]
    assert np.sqrt(np.square(cut_square(photo, square, 48) - means).mean()) < 1.5


@pytest.mark.parametrize("centre", [(0.0, 0.0), (-500.0, 50.0), (2_000.0, 3_000.0)])
def test_beyond_the_border_the_last_pixels_go_on(centre: tuple[float, float]) -> None:
    photo = np.full((60, 80, 3), 70, np.uint8)
    assert (cut_square(photo, FaceSquare(centre, 90.0, 0.4), 32) == 70).all()


def test_the_centre_square_is_as_large_as_the_shorter_side() -> None:
    assert centre_square(np.zeros((40, 100, 3), np.uint8)) == FaceSquare((50, 20), 40)


def test_found_faces_are_framed_as_the_built_in_ones_are() -> None:
    detector, inside = FaceDetector(), []
    for number in range(10):
        placed = Placed(number, 150, 90, 300)
        square = face_square(detector.detect(photograph(700, 500, [placed]))[0], EYES)
        inside.append(square.to_square(landmarks(placed)))
    eyes, mouth = np.mean(inside, axis=0)[:2].mean(axis=0), np.mean(inside, axis=0)[3:].mean(axis=0)
    assert (eyes + mouth) / 2 == pytest.approx((0.50, 0.59), abs=0.02)
    # The detector places the mouths of drawn faces a little high.
    assert mouth[1] - eyes[1] == pytest.approx(0.265, abs=0.025)


def test_a_turned_photograph_gives_the_same_picture() -> None:
    detector, photo = FaceDetector(), portrait()
    turned = np.asarray(cut_square(photo, FaceSquare((224.0, 224.0), 448.0, 0.35), 448))
    first, second = (
        cut_square(each, face_square(detector.detect(each)[0], EYES), 112).astype(float) for each in (photo, turned)
    )
    middle = slice(28, 90)
    assert np.abs(first - second)[middle, middle].mean() < 14


def test_a_framing_is_kept_beside_pictures(tmp_path: Path) -> None:
    assert read_framing(tmp_path) is None
    framing = Framing(kind="box", margin=0.2, masks="drawn")
    write_framing(tmp_path, framing)
    assert read_framing(tmp_path) == framing


@pytest.mark.parametrize(
    "text",
    [
        "", "[1]", "{", '{"format": 2}', '{"format": 1, "kind": "eyes"}', "[" * 5_000,
        '{"format":1,"kind":"nose","span":0.2,"x":0.5,"y":0.5,"margin":0,"masks":"drawn"}',
        '{"format":1,"kind":["eyes"],"span":0.2,"x":0.5,"y":0.5,"margin":0,"masks":"drawn"}',
        '{"format":1,"kind":"eyes","span":0,"x":0.5,"y":0.5,"margin":0,"masks":"drawn"}',
        '{"format":1,"kind":"eyes","span":NaN,"x":0.5,"y":0.5,"margin":0,"masks":"drawn"}',
        '{"format":1,"kind":"eyes","span":true,"x":0.5,"y":0.5,"margin":0,"masks":"drawn"}',
    ],
)  # fmt: skip
def test_a_damaged_framing_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    (tmp_path / FRAMING_FILE).write_text(text)
    with pytest.raises(DataError, match=FRAMING_FILE):
        read_framing(tmp_path)


def test_a_framing_in_a_card_is_read_again() -> None:
    assert parse_framing(Framing(span=0.3).as_dict(), "the card") == Framing(span=0.3)
