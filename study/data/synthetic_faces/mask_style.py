"""Describe a mask, and draw such a description from a generator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from study.data.synthetic_faces.drawing import FloatArray
from study.data.synthetic_faces.random_draws import Colour, any_colour, between, happens, mix, pick, stream
from study.data.synthetic_faces.vocabulary import MASK_KINDS, MaskKind, MaskMode, MaskPattern

_SURGICAL: tuple[Colour, ...] = (
    (142, 192, 214),
    (150, 205, 225),
    (232, 236, 238),
    (160, 205, 190),
    (226, 180, 194),
    (44, 46, 52),
    (104, 138, 178),
)
_RESPIRATOR: tuple[Colour, ...] = ((238, 238, 234), (226, 224, 218), (46, 47, 52), (170, 174, 178), (206, 190, 168))
# Large motifs break up the outline of a mask, which is what makes the held-out patterns a shift.
_USUAL_PITCH = (2.6, 5.2)
_PITCHES: dict[MaskPattern, tuple[float, float]] = {"plaid": (1.1, 2.8), "floral": (1.3, 2.8)}


@dataclass(frozen=True)
class MaskLook:
    """What a mask looks like and how it is worn.

    Attributes:
        kind: the cut of the mask.
        mode: properly worn, below the nose, or under the chin.
        pattern: what is printed on it.
        colour: the cloth, RGB 0-255.
        print_colour: the pattern, RGB 0-255.
        pitch: repeats of the pattern in one head unit.
        turn_rad: direction of the pattern.
        drop: how much lower than usual it sits, in head units.
        reach: scales its width around the head.
        seed: fixes wrinkles and the pattern's offset.
    """

    kind: MaskKind
    mode: MaskMode
    pattern: MaskPattern
    colour: Colour
    print_colour: Colour
    pitch: float
    turn_rad: float
    drop: float
    reach: float
    seed: int


def sample_mask_look(
    rng: np.random.Generator,
    mode: MaskMode,
    patterns: Sequence[MaskPattern],
    skin: Colour | None = None,
    kinds: Sequence[MaskKind] = MASK_KINDS,
) -> MaskLook:
    """Draw a mask.

    Args:
        rng: where the chance comes from.
        mode: how it is worn.
        patterns: what may be printed; only "solid" is left off surgical masks and respirators now and then.
        skin: when given, the cloth has about this colour.
        kinds: the cuts to draw from.
    """
    kind = pick(rng, kinds)
    pattern = _pattern(rng, kind, patterns)
    colour = _cloth_colour(rng, kind, pattern)
    if skin is not None:
        colour = mix(skin, colour, 0.12)
    accent = any_colour(rng, 0.75, 40, 235)
    opposite: Colour = (245, 245, 240) if sum(colour) < 330 else (40, 40, 48)
    contrast = mix(accent, opposite, between(rng, 0.15, 0.6))
    return MaskLook(
        kind=kind,
        mode=mode,
        pattern=pattern,
        colour=colour,
        print_colour=contrast if skin is None else mix(contrast, colour, 0.7),
        pitch=between(rng, *_PITCHES.get(pattern, _USUAL_PITCH)),
        turn_rad=between(rng, -0.9, 0.9),
        drop=between(rng, -0.05, 0.07),
        reach=between(rng, 0.92, 1.06),
        seed=int(rng.integers(2**31)),
    )


def _pattern(rng: np.random.Generator, kind: MaskKind, patterns: Sequence[MaskPattern]) -> MaskPattern:
    """Print mostly on cloth; where plain is not allowed, print on every cut."""
    if "solid" not in patterns:
        return pick(rng, patterns)
    printed = [pattern for pattern in patterns if pattern != "solid"]
    return pick(rng, printed) if printed and happens(rng, 0.62 if kind == "cloth" else 0.08) else "solid"


def _cloth_colour(rng: np.random.Generator, kind: MaskKind, pattern: MaskPattern) -> Colour:
    if kind == "cloth" or pattern != "solid":
        # Saturated neon cloth is what a model would find without looking at the shape.
        return any_colour(rng, 0.6, 55, 235)
    base = pick(rng, _SURGICAL if kind == "surgical" else _RESPIRATOR)
    return mix(base, any_colour(rng, 0.5, 60, 240), between(rng, 0.0, 0.18))


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
