"""Random draws that are the same in every process, colours, and anti-aliased shapes and noise on a float32 picture."""

import math
from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from study.data.synthetic_faces.vocabulary import RENDERER_VERSION, Colour

T = TypeVar("T")


def stream(*key: int) -> np.random.Generator:
    """Return the generator that belongs to a key of non-negative integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((RENDERER_VERSION, *key))))


def pick(rng: np.random.Generator, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
    """Draw one option; the weights need not sum to one."""
    if weights is None:
        return options[int(rng.random() * len(options))]
    remaining = float(rng.random()) * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        remaining -= weight
        if remaining < 0:
            return option
    return options[-1]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a plain Python float, because NumPy scalars promote float32 images to float64."""
    return low + (high - low) * float(rng.random())


def happens(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability; always uses up one draw."""
    return float(rng.random()) < probability


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """Blend two colours; weight 0 is the first, 1 the second."""
    red, green, blue = ((1 - weight) * a + weight * b for a, b in zip(first, second, strict=True))
    return red, green, blue


def scaled(colour: Colour, factor: float) -> Colour:
    """Brighten or darken a colour, held within 0-255."""
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def any_colour(rng: np.random.Generator, saturation: float, low: float, high: float) -> Colour:
    """Draw a colour of random hue whose brightest channel lies between low and high."""
    value = between(rng, low, high)
    channels = [value * (1 - saturation * float(rng.random())) for _ in range(3)]
    return channels[0], channels[1], channels[2]


FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

_SUBPIXEL_BITS = 4
_ANGLES = np.linspace(0.0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), axis=1)


def blend(canvas: FloatArray, alpha: FloatArray, paint: Colour | FloatArray) -> None:
    """Lay one colour, or paint [H, W, 3], over the canvas [H, W, 3] in place; alpha is [H, W] in 0-1."""
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
    """Fill a polygon of [n, 2] points x, y in pixels; ``soft_px`` is the standard deviation of the edge."""
    _stamp(canvas, points, colour, opacity, soft_px, width_px=0.0)


def stroke(
    canvas: FloatArray, points: FloatArray, colour: Colour, width_px: float, opacity: float = 1.0, soft_px: float = 0.0
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
