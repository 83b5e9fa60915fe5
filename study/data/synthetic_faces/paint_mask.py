"""Draw a mask onto a photo of a face whose landmarks are known.

Every pixel gets an azimuth and a height on a cylinder head fitted to the landmarks; the mask is an analytic shape
in these coordinates, so it turns, leans and narrows with the face.
"""

import math

import numpy as np

from study.data.synthetic_faces.drawing import ByteArray, FloatArray, blend, blurred, shade, stroke
from study.data.synthetic_faces.head_geometry import Box, FaceLandmarks, HeadFrame
from study.data.synthetic_faces.mask_geometry import Cut, cut_of, fit, folds
from study.data.synthetic_faces.mask_style import MaskLook, print_coverage
from study.data.synthetic_faces.random_draws import scaled, stream

_CRISP_EDGE_PX = 0.6
_GREY_SPREAD = 2.0


def match_layer(photo: FloatArray, painted: FloatArray, unit_px: float, seed: int) -> FloatArray:
    """Return the painted picture with everything that was painted made as poor as the photo.

    Args:
        photo: [H, W, 3], 0-255, before painting.
        painted: [H, W, 3], after painting.
        unit_px: distance from eyes to mouth, limits the blur.
        seed: fixes the added noise.
    """
    change = painted - photo
    touched = np.abs(change).max(axis=2) > np.float32(0.5)
    if not bool(touched.any()):
        return painted
    blur_px = min(photo_blur_px(photo), 0.25 * unit_px)
    noise = photo_noise(photo)
    if float(np.ptp(photo, axis=2).mean()) < _GREY_SPREAD:
        painted = np.repeat(painted.mean(axis=2, keepdims=True), 3, axis=2)
    weight = blurred(touched.astype(np.float32), blur_px)[..., None]
    result = photo + weight * (blurred(painted, blur_px) - photo)
    grain = stream(seed).standard_normal(photo.shape[:2], dtype=np.float32) * np.float32(noise)
    return np.asarray(result + (weight * grain[..., None]), np.float32)


def photo_blur_px(photo: FloatArray) -> float:
    """Estimate the blur from the steepest edge.

    A step of height h blurred by sigma has the slope h / (sigma sqrt(2 pi)); the picture's contrast stands for h.
    """
    luma = photo.mean(axis=2)
    if min(luma.shape) < 4:
        return 0.0
    low, high = np.percentile(luma, (2, 98)).tolist()
    slope = max(
        float(np.percentile(np.abs(np.diff(luma, axis=1)), 99.7)),
        float(np.percentile(np.abs(np.diff(luma, axis=0)), 99.7)),
    )
    sigma = (high - low) / (max(slope, 0.5) * math.sqrt(2 * math.pi))
    return math.sqrt(max(0.0, sigma * sigma - _CRISP_EDGE_PX * _CRISP_EDGE_PX)) * 0.6


def photo_noise(photo: FloatArray) -> float:
    """Estimate the standard deviation of the noise from second differences (Immerkaer's kernel, median form)."""
    luma = photo.mean(axis=2)
    if min(luma.shape) < 4:
        return 0.0
    rows = luma[:-2] - 2 * luma[1:-1] + luma[2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(1.4826 * np.median(np.abs(both)) / 6.0)


# A little before the ear: on photos of narrow heads the loops would end in the air.
_EAR_AZIMUTH_RAD = 1.38
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)


def overlay_mask(photo: ByteArray, landmarks: FaceLandmarks, look: MaskLook) -> ByteArray:
    """Return a copy of a photo with a mask on one face.

    The mask takes over the photo's blur, noise and lack of colour, so that they do not give it away.

    Args:
        photo: uint8 [H, W, 3], RGB, any size.
        landmarks: of the face, in pixels of the photo.
        look: the mask.

    Returns:
        uint8 [H, W, 3]; pixels away from the mask are those of the photo.
    """
    frame = HeadFrame.from_landmarks(landmarks)
    box = _mask_box(frame, photo.shape)
    if box.right <= box.left or box.bottom <= box.top:
        return photo.copy()
    block = photo[box.top : box.bottom, box.left : box.right].astype(np.float32)
    painted = block.copy()
    paint_mask(painted, _moved(landmarks, -box.left, -box.top), look)
    matched = match_layer(block, painted, frame.unit_px, look.seed)
    result = photo.copy()
    result[box.top : box.bottom, box.left : box.right] = np.clip(matched + np.float32(0.5), 0, 255).astype(np.uint8)
    return result


def paint_mask(canvas: FloatArray, landmarks: FaceLandmarks, look: MaskLook) -> None:
    """Paint a crisp mask in place.

    Args:
        canvas: float32 [H, W, 3], RGB 0-255, changed in place.
        landmarks: of the face, in pixels of the canvas.
        look: the mask.
    """
    frame = HeadFrame.from_landmarks(landmarks)
    box = _mask_box(frame, canvas.shape)
    if box.right <= box.left or box.bottom <= box.top:
        return
    cut = cut_of(look, frame.chin)
    view = box.cut(canvas)
    exposure, relief = _light(view, frame.unit_px)
    surface = frame.surface(box, swell=1.03, forward=cut.forward, chin_drop=max(0.0, cut.bottom - frame.chin) + 0.03)
    worn = fit(frame, surface, cut)
    shadow = blurred(worn.alpha, 0.07 * frame.unit_px)
    shade(view, np.float32(1.0) - np.float32(0.30) * shadow)
    _draw_loops(canvas, frame, cut, look, exposure)
    blend(
        view,
        worn.alpha,
        _cloth(look, frame, surface.azimuth, surface.height)
        * _lit(folds(look, frame, surface, worn), relief, exposure),
    )


def _cloth(look: MaskLook, frame: HeadFrame, azimuth: FloatArray, height: FloatArray) -> FloatArray:
    """Return the unlit cloth with its print, [H, W, 3]."""
    base = np.array(look.colour, np.float32)
    printed = print_coverage(look, azimuth * np.float32(frame.radius), height)
    if printed is None:
        return np.broadcast_to(base, (*height.shape, 3))
    return np.asarray(base + printed[..., None] * (np.array(look.print_colour, np.float32) - base), np.float32)


def _lit(fold: FloatArray, relief: FloatArray, exposure: float) -> FloatArray:
    return np.asarray((fold * relief * np.float32(exposure))[..., None], np.float32)


def _light(view: FloatArray, unit_px: float) -> tuple[float, FloatArray]:
    """Read the light from the photo below the mask.

    Returns:
        The exposure (1 for a well lit photo) and the light's unevenness [H, W] around 1.
    """
    luma = np.asarray(view @ _LUMA, np.float32)
    # The brightest parts tell the exposure whatever the skin; the mean would make masks on dark skin dark.
    bright = float(np.partition(luma.ravel(), int(luma.size * 0.96))[int(luma.size * 0.96)])
    exposure = min(1.0, max(0.12, 0.35 + 0.65 * bright / 200.0) * min(1.0, bright / 60.0))
    soft = blurred(luma, 0.30 * unit_px) + np.float32(4.0)
    middle = float(np.mean(soft))
    return exposure, np.clip(np.sqrt(soft * np.float32(1.0 / middle)), 0.72, 1.15)


def _draw_loops(canvas: FloatArray, frame: HeadFrame, cut: Cut, look: MaskLook, exposure: float) -> None:
    """Draw the ear loops as far as they are on the visible side of the head."""
    colour = scaled((225.0, 225.0, 222.0) if sum(look.colour) > 260 else (70.0, 70.0, 74.0), exposure)
    width_px = 0.034 * frame.unit_px
    end = 0.97 * cut.reach_rad * frame.radius
    ear = _EAR_AZIMUTH_RAD * frame.radius
    for side in (-1.0, 1.0):
        for low, high in ((cut.top_side + 0.05, 0.02), (cut.bottom_side - 0.05, 0.52)):
            arc = np.linspace(end, ear, 7, dtype=np.float32) * np.float32(side)
            height = np.linspace(low, high, 7, dtype=np.float32)
            seen = np.abs(arc / frame.radius + frame.yaw_rad) < 0.5 * math.pi
            if int(seen.sum()) > 1:
                stroke(canvas, frame.place(arc[seen], height[seen]), colour, width_px, 0.9)


def _mask_box(frame: HeadFrame, shape: tuple[int, ...]) -> Box:
    """Return the block that holds the mask with its shadow, and the face's brightest parts above it."""
    return frame.box(shape, -1.45, -0.25, 1.45, frame.chin + 0.35)


def _moved(marks: FaceLandmarks, x: float, y: float) -> FaceLandmarks:
    def move(point: tuple[float, float]) -> tuple[float, float]:
        return point[0] + x, point[1] + y

    return FaceLandmarks(
        (move(marks.eyes[0]), move(marks.eyes[1])),
        move(marks.nose_tip),
        (move(marks.mouth[0]), move(marks.mouth[1])),
        None if marks.chin is None else move(marks.chin),
    )
