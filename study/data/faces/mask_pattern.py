"""Print patterns onto cloth; pure functions of cloth coordinates."""

from collections.abc import Callable
from typing import Final

import numpy as np

from study.data.faces.canvas import FloatArray
from study.data.faces.chance import stream
from study.data.faces.mask_look import MaskLook
from study.data.faces.vocabulary import MaskPattern

Print = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]


def print_coverage(look: MaskLook, across: FloatArray, down: FloatArray) -> FloatArray | None:
    """Return how much print colour lies on each point of the cloth.

    Args:
        look: pattern, pitch and direction.
        across: [H, W] head units around the head.
        down: [H, W] head units downwards.

    Returns:
        [H, W] in 0-1, or None for plain cloth.
    """
    if look.pattern == "solid":
        return None
    rng = stream(look.seed)
    cosine, sine = np.float32(np.cos(look.turn_rad) * look.pitch), np.float32(np.sin(look.turn_rad) * look.pitch)
    shift_x, shift_y = (np.float32(value) for value in rng.random(2).tolist())
    x = cosine * across - sine * down + shift_x
    y = sine * across + cosine * down + shift_y
    return _PRINTS[look.pattern](x, y, rng)


def _step(field: FloatArray, sharpness: float) -> FloatArray:
    return np.asarray(np.clip(field * np.float32(sharpness) + np.float32(0.5), 0.0, 1.0), np.float32)


def _wave(phase: FloatArray) -> FloatArray:
    return np.asarray(np.cos(phase * np.float32(2 * np.pi)), np.float32)


def _stripes(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    return _step(_wave(y), 2.0)


def _dots(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    return _step(_wave(x) + _wave(y) - np.float32(0.75), 1.8)


def _blotch(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    a, b, c = (np.float32(phase) for phase in rng.random(3).tolist())
    field = _wave(x * np.float32(0.43) + a + np.float32(0.25) * _wave(y * np.float32(0.31)))
    field = field + _wave(y * np.float32(0.52) + b + np.float32(0.3) * _wave(x * np.float32(0.37) + c))
    return _step(field + np.float32(0.1), 2.2)


def _plaid(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    # Threads of both directions add up where they cross, which is what tells plaid from a grid.
    broad = np.float32(0.42) * (_step(_wave(x * np.float32(0.7)), 3.0) + _step(_wave(y * np.float32(0.7)), 3.0))
    narrow = _step(_wave(x * np.float32(0.7) + np.float32(0.5)) - np.float32(0.85), 5.0)
    return np.asarray(np.minimum(broad + np.float32(0.3) * narrow, np.float32(1.0)), np.float32)


def _floral(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Five petals around a bare middle, every other row moved by half a flower."""
    x, y = x * np.float32(0.8), y * np.float32(0.8)
    row = np.floor(y)
    cell_x = np.mod(x + np.float32(0.5) * np.mod(row, np.float32(2.0)), np.float32(1.0)) - np.float32(0.5)
    cell_y = y - row - np.float32(0.5)
    radius = np.sqrt(cell_x * cell_x + cell_y * cell_y)
    petals = np.float32(0.29) + np.float32(0.13) * np.cos(np.arctan2(cell_y, cell_x) * np.float32(5.0))
    return np.asarray(_step(petals - radius, 9.0) * _step(radius - np.float32(0.09), 9.0), np.float32)


_PRINTS: Final[dict[MaskPattern, Print]] = {
    "stripes": _stripes,
    "dots": _dots,
    "blotch": _blotch,
    "plaid": _plaid,
    "floral": _floral,
}
