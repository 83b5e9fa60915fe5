"""Draw a mask on a face that was cut out of a photograph, as poor in detail and colour as the photograph; pure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from study.data.synthetic_faces.drawing import FloatArray, blurred, stream
from study.data.synthetic_faces.head_geometry import FaceLandmarks, HeadFrame, Point
from study.data.synthetic_faces.mask import cut_of, paint_mask
from study.data.synthetic_faces.vocabulary import MaskLook
from study.photos.alignment import FaceSquare, Points
from study.photos.detector import DetectedFace, Photo

_CRISP_EDGE_PX = 0.6
_GREY_SPREAD = 1.0
_SUM = np.ones(3, np.float32)
_TURNED_FROM_RAD = 0.4
_WIDER_PER_RAD = 0.6
# Short of the ears, where the loops end.
_FURTHEST_RAD = 1.30


def draw_mask(picture: Photo, landmarks: FaceLandmarks, look: MaskLook) -> Photo:
    """Return a copy of a picture with a mask on one face.

    The mask takes over the picture's blur, noise and lack of colour, so that they do not give it away.

    Args:
        picture: uint8 RGB [H, W, 3].
        landmarks: of the face, in pixels of the picture.
        look: the mask.
    """
    before = picture.astype(np.float32)
    painted = before.copy()
    frame = HeadFrame.from_landmarks(landmarks)
    paint_mask(painted, landmarks, _widened(look, frame))
    matched = _match(before, painted, frame.unit_px, look.seed)
    return np.asarray(np.clip(matched + np.float32(0.5), 0, 255), np.uint8)


def _widened(look: MaskLook, frame: HeadFrame) -> MaskLook:
    """Let the mask of a face that is turned away reach further round: the cheek seen from the side is long."""
    reach_rad = cut_of(look, frame.chin).reach_rad
    turned = (abs(frame.yaw_rad) - _TURNED_FROM_RAD) * _WIDER_PER_RAD
    wider = min(1 + max(0.0, turned), max(1.0, _FURTHEST_RAD / reach_rad))
    return replace(look, reach=look.reach * wider)


def landmarks_in(square: FaceSquare, face: DetectedFace, size_px: int) -> FaceLandmarks:
    """Return the landmarks of a face in pixels of its square cut to ``size_px``; the chin is where its box ends."""
    chin = _chin(face)
    x_y = square.to_square(np.vstack((face.landmarks, chin))) * size_px - 0.5
    eye, other_eye, nose, mouth, other_mouth, chin_point = (_point(row) for row in x_y)
    return FaceLandmarks((eye, other_eye), nose, (mouth, other_mouth), chin_point)


def _chin(face: DetectedFace) -> Points:
    """Return where the line from eyes to mouth leaves the box."""
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    down = mouth - eyes
    box = np.array(face.box).reshape(2, 2)
    far = np.where(down > 0, box[1], box[0]) - eyes
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(np.abs(down) > 1e-6, far / down, np.inf)
    return np.asarray(eyes + down * min(2.0, max(1.0, float(steps.min()))), np.float64)


def _point(row: Points) -> Point:
    x, y = row.tolist()
    return x, y


def _match(photo: FloatArray, painted: FloatArray, unit_px: float, seed: int) -> FloatArray:
    """Return the painted picture with everything that was painted made as poor as the photograph.

    Args:
        photo: [H, W, 3], 0-255, before painting.
        painted: [H, W, 3], after painting.
        unit_px: distance from eyes to mouth, limits the blur.
        seed: fixes the added noise.
    """
    touched = (np.abs(painted - photo) @ _SUM) > np.float32(0.5)
    if not bool(touched.any()):
        return painted
    luma = np.asarray(photo @ (_SUM / np.float32(3)), np.float32)
    blur_px = min(_blur_px(luma), 0.25 * unit_px)
    if float(np.abs(photo - luma[..., None]).mean()) < _GREY_SPREAD:
        painted = np.repeat((painted @ (_SUM / np.float32(3)))[..., None], 3, axis=2)
    weight = blurred(touched.astype(np.float32), blur_px)[..., None]
    result = photo + weight * (blurred(painted, blur_px) - photo)
    grain = stream(seed).standard_normal(photo.shape[:2], dtype=np.float32) * np.float32(_noise(luma))
    return np.asarray(result + weight * grain[..., None], np.float32)


def _blur_px(luma: FloatArray) -> float:
    """Estimate the blur from the steepest edge.

    A step of height h blurred by sigma has the slope h / (sigma sqrt(2 pi)); the picture's contrast stands for h.
    """
    low, high = _quantile(luma, 0.02), _quantile(luma, 0.98)
    slope = max(_quantile(np.abs(luma[1:] - luma[:-1]), 0.997), _quantile(np.abs(luma[:, 1:] - luma[:, :-1]), 0.997))
    sigma = (high - low) / (max(slope, 0.5) * math.sqrt(2 * math.pi))
    return math.sqrt(max(0.0, sigma * sigma - _CRISP_EDGE_PX * _CRISP_EDGE_PX)) * 0.6


def _noise(luma: FloatArray) -> float:
    """Estimate the standard deviation of the noise from second differences.

    Source: Immerkaer 1996, with the median instead of the mean.
    """
    rows = luma[:-2] - 2 * luma[1:-1] + luma[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return 1.4826 * _quantile(np.abs(both), 0.5) / 6.0


def _quantile(values: FloatArray, share: float) -> float:
    """Return a value that a share of the values are below: quicker than NumPy's, which interpolates."""
    place = int(share * (values.size - 1))
    return float(np.partition(values, place, axis=None)[place])
