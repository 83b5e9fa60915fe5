"""What a prediction sees of a photograph, and the boxes that are drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photo_kit import Placed, photograph, portrait, save

from study.data.decode import decode_image
from study.data.framing import Framing
from study.errors import DataError
from study.photos.detector import Box, FaceDetector, _merged
from study.photos.drawing import COLOURS, draw_boxes
from study.photos.faces import read_faces


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def test_every_face_of_a_photograph_is_an_image(detector: FaceDetector, tmp_path: Path) -> None:
    path = save(photograph(640, 480, [Placed(1, 10, 60, 200), Placed(2, 300, 60, 260)]), tmp_path / "a.png")
    result = read_faces(path, 96, Framing(), detector)
    assert result.why == "faces"
    assert result.images.shape == (2, 96, 96, 3)
    assert result.images.dtype == np.uint8
    assert [face.size_px for face in result.faces] == sorted((f.size_px for f in result.faces), reverse=True)
    assert result.photo is not None
    assert result.photo.shape == (480, 640, 3)
    assert read_faces(path.read_bytes(), 96, Framing(), detector).images.tobytes() == result.images.tobytes()


def test_a_photograph_of_the_models_size_is_taken_as_it_is(detector: FaceDetector, tmp_path: Path) -> None:
    path = save(photograph(112, 112, [Placed(0, 0, 0, 112)]), tmp_path / "a.png")
    small = read_faces(path, 112, Framing(), detector)
    assert (small.why, small.faces) == ("small", ())
    assert np.array_equal(small.images[0], decode_image(path, 112))
    assert read_faces(path, 112, Framing(), detector, detect="always").why == "faces"
    assert read_faces(path, 111, Framing(), detector).why == "faces"


def test_a_photograph_without_a_face_is_taken_as_it_is(detector: FaceDetector, tmp_path: Path) -> None:
    path = save(np.full((90, 150, 3), 60, np.uint8), tmp_path / "a.png")
    result = read_faces(path, 64, Framing(), detector, resize="pad")
    assert (result.why, result.faces) == ("no face", ())
    assert np.array_equal(result.images[0], decode_image(path, 64, "pad"))


def test_no_face_is_looked_for_where_none_is_asked_for(detector: FaceDetector, tmp_path: Path) -> None:
    path = save(portrait(), tmp_path / "a.png")
    result = read_faces(path, 64, Framing(), detector, detect="never")
    assert (result.why, result.faces, result.photo) == ("not looked for", (), None)
    assert np.array_equal(result.images[0], decode_image(path, 64))


def test_a_photograph_that_cannot_be_read_is_an_error(detector: FaceDetector, tmp_path: Path) -> None:
    path = save(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.png")
    assert read_faces(path, 64, Framing(), detector).why == "small"
    with pytest.raises(DataError, match="at least 16 px"):
        read_faces(path, 64, Framing(), detector, detect="always")
    with pytest.raises(DataError, match="not a picture"):
        read_faces(b"nothing", 64, Framing(), detector)


def test_nearly_equal_rows_are_one_face_and_their_mean() -> None:
    def row(left: float, score: float, side: float = 100.0) -> list[float]:
        return [left, 0.0, left + side, side, *[left + side / 2] * 10, score]

    rows = np.array([row(0, 0.8), row(4, 0.8), row(300, 0.6), row(20, 0.5, 60), row(500, 0.7, 0.0)])
    merged = _merged(rows)
    assert [round(each[14], 2) for each in merged] == [0.8, 0.7, 0.6]
    assert merged[0][:4] == pytest.approx((2, 0, 102, 100))
    assert merged[0][4] == pytest.approx(52)


@pytest.mark.parametrize("ground", [0, 255, 128, *COLOURS])
def test_boxes_and_captions_show_on_any_ground(ground: int | tuple[int, int, int]) -> None:
    photo = np.zeros((300, 400, 3), np.uint8) + np.array(ground, np.uint8)
    for colour in COLOURS:
        drawn = draw_boxes(photo, [Box(100, 100, 220, 240)], ["wearing_mask 0.97"], [colour])
        change = np.abs(drawn.astype(int) - photo).max(axis=2)
        edge = change[160:180, 95:106].max(axis=1)
        assert edge.min() > 60
        caption = drawn[80:100, 100:200].reshape(-1, 3).astype(int).sum(axis=1)
        assert np.ptp(caption) > 250
        assert (change[120:220, 120:200] == 0).all()
    assert (photo == np.array(ground, np.uint8)).all()


@pytest.mark.parametrize("box", [Box(-30, -40, 50, 60), Box(0, 0, 400, 300), Box(380, 290, 420, 330), Box(5, 5, 6, 6)])
def test_a_box_at_the_border_keeps_its_caption(box: Box) -> None:
    photo = np.full((300, 400, 3), 90, np.uint8)
    drawn = draw_boxes(photo, [box], ["not_wearing_mask 0.51"], [COLOURS[0]])
    filled = (np.abs(drawn.astype(int) - np.array(COLOURS[0])).max(axis=2) < 10).sum()
    assert filled > 600


def test_captions_of_neighbours_hide_neither_faces_nor_each_other() -> None:
    photo = np.full((600, 800, 3), 90, np.uint8)
    boxes = [Box(300, 200, 360, 280), Box(375, 205, 435, 285), Box(330, 110, 390, 190)]
    drawn = draw_boxes(photo, boxes, ["not_wearing_mask 0.51"] * 3, list(COLOURS[:3]))
    for left, top, right, bottom in (np.array(box, int) for box in boxes):
        assert (drawn[top + 5 : bottom - 5, left + 5 : right - 5] == 90).all()
    areas = [(np.abs(drawn.astype(int) - np.array(colour)).max(axis=2) < 10).sum() for colour in COLOURS[:3]]
    assert min(areas) > 0.9 * max(areas)


def test_a_photograph_without_faces_is_drawn_as_it_is() -> None:
    photo = portrait()
    assert np.array_equal(draw_boxes(photo, [], [], []), photo)
