"""The mask painter follows the landmarks of a face."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from study.data.synthetic_faces.drawing import stream
from study.data.synthetic_faces.head_geometry import FaceLandmarks, HeadFrame
from study.data.synthetic_faces.mask import paint_mask
from study.data.synthetic_faces.sampling import sample_mask_look
from study.data.synthetic_faces.vocabulary import MASK_KINDS, MASK_MODES, ORDINARY_PATTERNS, MaskLook

Photo = npt.NDArray[np.uint8]
FRAME = HeadFrame((150.0, 110.0), 60.0)
LOOK = MaskLook("surgical", "proper", "stripes", (90, 160, 220), (240, 240, 240), 4.0, 0.3, 0.0, 1.0, 3)


@pytest.fixture
def photo() -> Photo:
    """A textured skin-coloured picture, higher than wide."""
    grain = stream(1).normal(0, 12, (320, 300, 3))
    ramp = np.linspace(0.7, 1.1, 300)[None, :, None]
    return np.clip(np.array((200, 150, 120)) * ramp + grain, 0, 255).astype(np.uint8)


def masked(photo: Photo, landmarks: FaceLandmarks, look: MaskLook) -> Photo:
    canvas = photo.astype(np.float32)
    paint_mask(canvas, landmarks, look)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def changed(before: Photo, after: Photo) -> npt.NDArray[np.bool_]:
    return np.abs(before.astype(int) - after.astype(int)).max(axis=2) > 25


@pytest.mark.parametrize("yaw_rad", [-0.5, 0.0, 0.35])
@pytest.mark.parametrize("roll_rad", [-0.4, 0.0, 0.7])
def test_landmarks_lead_back_to_the_head(yaw_rad: float, roll_rad: float) -> None:
    frame = replace(FRAME, yaw_rad=yaw_rad, roll_rad=roll_rad)
    fitted = HeadFrame.from_landmarks(frame.landmarks())
    assert fitted.yaw_rad == pytest.approx(yaw_rad, abs=0.12)
    assert fitted.roll_rad == pytest.approx(roll_rad, abs=0.03)
    assert fitted.unit_px == pytest.approx(frame.unit_px, rel=0.02)
    assert fitted.centre == pytest.approx(frame.centre, abs=0.12 * frame.unit_px)


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("mode", MASK_MODES)
def test_every_mask_lies_on_its_part_of_the_face(photo: Photo, kind: str, mode: str) -> None:
    look = MaskLook(kind, mode, "solid", (40, 60, 160), (240, 240, 240), 4.0, 0.3, 0.0, 1.0, 3)  # type: ignore[arg-type]
    before, after = photo, masked(photo, FRAME.landmarks(), look)

    def covered(height: float) -> bool:
        x, y = (round(value) for value in FRAME.spot(0.0, height))
        return bool(changed(before, after)[y - 2 : y + 3, x - 2 : x + 3].mean() > 0.5)

    assert not covered(0.0)
    assert covered(0.5) == (mode == "proper")
    assert covered(1.0) == (mode != "chin")
    assert covered(1.55)
    assert np.array_equal(before[:60], after[:60])


def test_the_mask_turns_with_the_face(photo: Photo) -> None:
    centres = []
    for roll_rad in (-0.4, 0.4):
        marks = replace(FRAME, roll_rad=roll_rad).landmarks()
        centres.append(np.argwhere(changed(photo, masked(photo, marks, LOOK))).mean(axis=0)[1])
    # The mask is about one unit below the eye line, the axis of the roll.
    assert centres[0] - centres[1] == pytest.approx(2 * math.sin(0.4) * 60, rel=0.3)


@pytest.mark.parametrize("centre", [(-400.0, 50.0), (5.0, 5.0), (295.0, 318.0)])
def test_a_face_at_the_border_is_no_error(photo: Photo, centre: tuple[float, float]) -> None:
    after = masked(photo, replace(FRAME, centre=centre).landmarks(), LOOK)
    assert after.shape == photo.shape


def test_samples_cover_every_cut_and_pattern() -> None:
    looks = [sample_mask_look(stream(index), "proper", ORDINARY_PATTERNS) for index in range(200)]
    assert {look.kind for look in looks} == set(MASK_KINDS)
    assert {look.pattern for look in looks} == set(ORDINARY_PATTERNS)
