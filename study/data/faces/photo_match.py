"""Give a painted layer the blur, the noise and the colour of the photo below it; pure."""

import math

import numpy as np

from study.data.faces.canvas import FloatArray, blurred
from study.data.faces.chance import stream

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
