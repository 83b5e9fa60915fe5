"""Paint a mask onto a face whose landmarks are known.

Every pixel gets an azimuth and a height on a cylinder head fitted to the landmarks; the mask is an analytic shape
in these coordinates, so it turns, leans and narrows with the face.
"""

import math

import numpy as np

from study.data.synthetic_faces.drawing import FloatArray, blend, blurred, shade, stroke
from study.data.synthetic_faces.head_geometry import Box, FaceLandmarks, HeadFrame
from study.data.synthetic_faces.mask_geometry import Cut, cut_of, fit, folds
from study.data.synthetic_faces.mask_style import MaskLook, print_coverage
from study.data.synthetic_faces.random_draws import scaled

# A little before the ear: on narrow heads the loops would end in the air.
_EAR_AZIMUTH_RAD = 1.38
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)


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
    """Read the light from the picture below the mask.

    Returns:
        The exposure (1 for a well lit picture) and the light's unevenness [H, W] around 1.
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
