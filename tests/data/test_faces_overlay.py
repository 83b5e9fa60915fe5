"""The mask painter on photos: it follows the landmarks and takes over the photo's faults."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from study.data.synthetic_faces.head_geometry import FaceLandmarks, HeadFrame
from study.data.synthetic_faces.mask_style import MaskLook, sample_mask_look
from study.data.synthetic_faces.paint_mask import overlay_mask
from study.data.synthetic_faces.random_draws import stream
from study.data.synthetic_faces.vocabulary import MASK_KINDS, MASK_MODES, ORDINARY_PATTERNS

Photo = npt.NDArray[np.uint8]
FRAME = HeadFrame((150.0, 110.0), 60.0)
LOOK = MaskLook("surgical", "proper", "stripes", (90, 160, 220), (240, 240, 240), 4.0, 0.3, 0.0, 1.0, 3)


@pytest.fixture
def photo() -> Photo:
    """A textured skin-coloured picture, higher than wide."""
    grain = stream(1).normal(0, 12, (320, 300, 3))
    ramp = np.linspace(0.7, 1.1, 300)[None, :, None]
    return np.clip(np.array((200, 150, 120)) * ramp + grain, 0, 255).astype(np.uint8)


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


def test_detector_points_are_read_in_either_order() -> None:
    marks = FRAME.landmarks()
    points = [marks.eyes[0], marks.eyes[1], marks.nose_tip, marks.mouth[0], marks.mouth[1]]
    swapped = [points[1], points[0], points[2], points[4], points[3]]
    assert FaceLandmarks.from_points(swapped) == FaceLandmarks.from_points(points)
    low = HeadFrame.from_landmarks(FaceLandmarks.from_points(points, bottom_y=1000.0))
    assert low.chin < 1.8, "a box that reaches to the collar must not stretch the mask"


@pytest.mark.parametrize("kind", MASK_KINDS)
@pytest.mark.parametrize("mode", MASK_MODES)
def test_every_mask_lies_on_its_part_of_the_face(photo: Photo, kind: str, mode: str) -> None:
    look = sample_mask_look(stream(4), mode, ["solid"], kinds=[kind])  # type: ignore[arg-type, list-item]
    look = replace(look, colour=(40, 60, 160), drop=0.0)
    before = photo.copy()
    after = overlay_mask(photo, FRAME.landmarks(), look)
    assert np.array_equal(photo, before), "the photo is not to be written to"
    assert after.shape == photo.shape
    assert after.dtype == np.uint8

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
        centres.append(np.argwhere(changed(photo, overlay_mask(photo, marks, LOOK))).mean(axis=0)[1])
    # The mask is about one unit below the eye line, the axis of the roll.
    assert centres[0] - centres[1] == pytest.approx(2 * math.sin(0.4) * 60, rel=0.3)


def test_a_grey_photo_stays_grey(photo: Photo) -> None:
    grey = np.repeat(photo.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    after = overlay_mask(grey, FRAME.landmarks(), LOOK)
    assert changed(grey, after).any()
    assert np.ptp(after, axis=2).max() == 0


def test_a_blurred_photo_gets_a_blurred_mask() -> None:
    steps = []
    for blur_px in (0.0, 6.0):
        face = np.full((320, 300, 3), (200, 150, 120), np.uint8)
        cv2.rectangle(face, (110, 100), (190, 120), (20, 20, 20), -1)
        if blur_px > 0:
            face = np.asarray(cv2.GaussianBlur(face, (0, 0), blur_px), np.uint8)
        after = overlay_mask(face, FRAME.landmarks(), LOOK)
        steps.append(np.percentile(np.abs(np.diff(after[130:210].astype(int), axis=0)), 99.5))
    assert steps[1] < 0.5 * steps[0]


def test_a_noisy_photo_gets_a_noisy_mask() -> None:
    deviations = []
    plain = replace(LOOK, pattern="solid", kind="cloth")
    for noise in (0.0, 20.0):
        grain = stream(2).normal(0, noise, (320, 300, 1)) if noise else 0.0
        face = np.clip(np.full((320, 300, 3), (200.0, 150.0, 120.0)) + grain, 0, 255).astype(np.uint8)
        patch = overlay_mask(face, FRAME.landmarks(), plain)[160:180, 140:160].astype(float).mean(axis=2)
        deviations.append(float(np.diff(patch, axis=0).std()))
    assert deviations[1] > deviations[0] + 8


@pytest.mark.parametrize("centre", [(-400.0, 50.0), (5.0, 5.0), (295.0, 318.0)])
def test_a_face_at_the_border_is_no_error(photo: Photo, centre: tuple[float, float]) -> None:
    after = overlay_mask(photo, replace(FRAME, centre=centre).landmarks(), LOOK)
    assert after.shape == photo.shape


def test_samples_cover_every_cut_and_pattern() -> None:
    looks = [sample_mask_look(stream(index), "proper", ORDINARY_PATTERNS) for index in range(200)]
    assert {look.kind for look in looks} == set(MASK_KINDS)
    assert {look.pattern for look in looks} == set(ORDINARY_PATTERNS)
