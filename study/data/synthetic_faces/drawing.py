"""Paint anti-aliased shapes and soft noise onto a float32 RGB picture in place."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from study.data.synthetic_faces.random_draws import Colour

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

_SUBPIXEL_BITS = 4
_ANGLES = np.linspace(0.0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), axis=1)


def blend(canvas: FloatArray, alpha: FloatArray, paint: Colour | FloatArray) -> None:
    """Lay paint over the canvas.

    Args:
        canvas: [H, W, 3], 0-255, changed in place.
        alpha: [H, W], 0-1.
        paint: one colour, or [H, W, 3].
    """
    layer = np.asarray(paint, dtype=np.float32) - canvas
    layer *= alpha[..., None]
    canvas += layer


def shade(canvas: FloatArray, factor: FloatArray) -> None:
    """Multiply every channel of [H, W, 3] by the field [H, W]."""
    canvas *= factor[..., None]


def coverage(distance_px: FloatArray, soft_px: float = 1.0) -> FloatArray:
    """Turn a signed distance, positive inside, into 0-1 coverage with an edge of soft_px."""
    covered = distance_px * np.float32(1.0 / soft_px)
    covered += np.float32(0.5)
    return np.clip(covered, 0.0, 1.0, out=covered)


def fill(canvas: FloatArray, points: FloatArray, colour: Colour, opacity: float = 1.0, soft_px: float = 0.0) -> None:
    """Fill a polygon.

    Args:
        canvas: [H, W, 3], changed in place.
        points: [n, 2] x, y in pixels.
        colour: RGB, 0-255.
        opacity: 0-1.
        soft_px: standard deviation of the edge, 0 for a crisp one.
    """
    _stamp(canvas, points, colour, opacity, soft_px, width_px=0.0)


def stroke(
    canvas: FloatArray,
    points: FloatArray,
    colour: Colour,
    width_px: float,
    opacity: float = 1.0,
    soft_px: float = 0.0,
) -> None:
    """Draw an open line through [n, 2] points; lines thinner than a pixel are fainter instead."""
    _stamp(canvas, points, colour, opacity * min(1.0, width_px), soft_px, width_px=max(1.0, width_px))


def _stamp(
    canvas: FloatArray, points: FloatArray, colour: Colour, opacity: float, soft_px: float, width_px: float
) -> None:
    """Rasterise inside the bounding box only: full-frame blending was the main cost."""
    fixed = np.rint(points * np.float32(1 << _SUBPIXEL_BITS)).astype(np.int32)
    pad = int(2.0 + 0.5 * width_px + 3.0 * soft_px)
    low_x, low_y, wide, tall = (side >> _SUBPIXEL_BITS for side in cv2.boundingRect(fixed))
    left, top = max(0, low_x - pad), max(0, low_y - pad)
    right, bottom = min(canvas.shape[1], low_x + wide + pad + 2), min(canvas.shape[0], low_y + tall + pad + 2)
    if right <= left or bottom <= top:
        return
    stencil = np.zeros((bottom - top, right - left), np.uint8)
    fixed -= np.array((left << _SUBPIXEL_BITS, top << _SUBPIXEL_BITS), np.int32)
    if width_px > 0:
        cv2.polylines(stencil, [fixed], False, (255,), round(width_px), cv2.LINE_AA, _SUBPIXEL_BITS)
    else:
        cv2.fillPoly(stencil, [fixed], (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
    if soft_px > 0:
        stencil = np.asarray(cv2.GaussianBlur(stencil, (0, 0), soft_px), np.uint8)
    blend(canvas[top:bottom, left:right], stencil * np.float32(opacity / 255.0), colour)


def soft_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> FloatArray:
    """Return smooth noise [H, W] in about -1..1 with the given number of bumps down and across."""
    coarse = rng.random((cells[0] + 1, cells[1] + 1), dtype=np.float32) * np.float32(2) - np.float32(1)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def blurred(field: FloatArray, sigma_px: float) -> FloatArray:
    """Gaussian blur that leaves the field alone below a third of a pixel."""
    if sigma_px < 0.3:
        return field
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma_px), np.float32)


def ellipse_points(centre: tuple[float, float], radii: tuple[float, float], turn_rad: float = 0.0) -> FloatArray:
    """Return a closed ellipse as [20, 2] points."""
    cosine, sine = math.cos(turn_rad), math.sin(turn_rad)
    wide, tall = np.array((cosine, sine)) * radii[0], np.array((-sine, cosine)) * radii[1]
    return np.asarray(centre + _CIRCLE[:, :1] * wide + _CIRCLE[:, 1:] * tall, np.float32)
