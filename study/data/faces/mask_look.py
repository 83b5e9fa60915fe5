"""Describe a mask, and draw such a description from a generator."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.data.faces.chance import Colour, any_colour, between, happens, mix, pick
from study.data.faces.vocabulary import MASK_KINDS, MaskKind, MaskMode, MaskPattern

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
