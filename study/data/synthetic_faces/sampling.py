"""Draw the description of a face, and of its mask, for a place in a split; pure."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from study.data.synthetic_faces.drawing import any_colour, between, happens, mix, pick, scaled, stream
from study.data.synthetic_faces.vocabulary import (
    ALL_SPLITS,
    BACKDROPS,
    DISTRACTOR_KINDS,
    HAIR_STYLES,
    HELD_OUT_PATTERNS,
    KIND_BLOCK,
    MASK_KINDS,
    ORDINARY_PATTERNS,
    Camera,
    Colour,
    Distractor,
    FaceDescription,
    Kind,
    MaskKind,
    MaskLook,
    MaskMode,
    MaskPattern,
    Person,
    Pose,
    Scene,
)

_SKINS: tuple[Colour, ...] = (
    (248, 218, 196),
    (240, 198, 168),
    (226, 176, 140),
    (204, 148, 108),
    (170, 114, 78),
    (126, 82, 56),
    (84, 56, 42),
)
_HAIRS: tuple[Colour, ...] = (
    (22, 20, 22),
    (48, 34, 28),
    (84, 56, 36),
    (130, 88, 50),
    (206, 172, 106),
    (156, 72, 36),
    (150, 148, 146),
    (222, 220, 214),
)
_IRISES: tuple[Colour, ...] = ((58, 38, 26), (74, 52, 34), (62, 92, 120), (72, 96, 66))
_DISTRACTED_UNMASKED = 0.30
_HAND_OVER_MASK = 0.05
_SKIN_COLOURED_MASK = 0.08


def kind_at(seed: int, split: str, index: int) -> Kind:
    """Return the kind of an image; each block of eight holds the same mix in an order of its own."""
    block, place = divmod(index, len(KIND_BLOCK))
    return _block_kinds(seed, ALL_SPLITS.index(split), block)[place]


@lru_cache(maxsize=256)
def _block_kinds(seed: int, split_place: int, block: int) -> tuple[Kind, ...]:
    # The fourth number keeps this stream apart from those of the images.
    order = stream(seed, split_place, block, 1).permutation(len(KIND_BLOCK)).tolist()
    return tuple(KIND_BLOCK[place] for place in order)


def describe(seed: int, split: str, index: int) -> FaceDescription:
    """Draw the description of one image; the draws before the mask do not depend on the kind."""
    kind = kind_at(seed, split, index)
    rng = stream(seed, ALL_SPLITS.index(split), index)
    pose = _pose(rng, split == "offcentre")
    person = _person(rng)
    scene = _scene(rng)
    camera = _camera(rng, split == "lowlight")
    texture_seed = int(rng.integers(2**31))
    mask = None
    if kind != "unmasked":
        mode: MaskMode = "proper" if kind == "masked" else kind
        patterns = HELD_OUT_PATTERNS if split == "patterns" else ORDINARY_PATTERNS
        mask = sample_mask_look(rng, mode, patterns, person.skin if happens(rng, _SKIN_COLOURED_MASK) else None)
    distractor = _distractor(rng, kind, person)
    return FaceDescription(kind, pose, person, scene, mask, distractor, camera, texture_seed)


def _pose(rng: np.random.Generator, offcentre: bool) -> Pose:
    yaw_rad = max(-0.75, min(0.75, 0.30 * float(rng.standard_normal())))
    roll_rad = max(-0.4, min(0.4, 0.12 * float(rng.standard_normal())))
    if offcentre:
        unit = between(rng, 0.085, 0.155)
        # Room for the whole head: 1.5 units to the sides, 2 above, 1.3 below the middle of the face.
        return Pose(
            between(rng, 1.5 * unit, 1 - 1.5 * unit), between(rng, 2.0 * unit, 1 - 1.3 * unit), unit, yaw_rad, roll_rad
        )
    return Pose(between(rng, 0.42, 0.58), between(rng, 0.54, 0.64), between(rng, 0.20, 0.29), yaw_rad, roll_rad)


def _person(rng: np.random.Generator) -> Person:
    skin = scaled(mix(pick(rng, _SKINS), pick(rng, _SKINS), between(rng, 0.0, 0.35)), between(rng, 0.92, 1.06))
    hair = scaled(mix(pick(rng, _HAIRS), pick(rng, _HAIRS), between(rng, 0.0, 0.3)), between(rng, 0.85, 1.12))
    beard = between(rng, 0.35, 1.0) if happens(rng, 0.22) else 0.0
    eyes_open = 0.0 if happens(rng, 0.08) else between(rng, 0.6, 1.1)
    return Person(
        skin=skin,
        hair=hair,
        style=pick(rng, HAIR_STYLES, (24, 22, 10, 12, 12, 10, 10)),
        wear=any_colour(rng, 0.75, 50, 235),
        garment=any_colour(rng, 0.7, 40, 230),
        iris=pick(rng, _IRISES, (40, 30, 16, 14)),
        lips=mix(skin, (168, 58, 62), between(rng, 0.25, 0.6)),
        chin=between(rng, 1.52, 1.70),
        radius=between(rng, 1.01, 1.11),
        jaw=between(rng, 0.2, 0.9),
        beard=beard,
        glasses=pick(rng, ("none", "clear", "sun"), (72, 20, 8)),
        mouth=pick(rng, ("closed", "smile", "open"), (45, 33, 22)),
        eyes_open=eyes_open,
        brow=between(rng, 0.4, 1.0),
    )


def _scene(rng: np.random.Generator) -> Scene:
    colours = (any_colour(rng, 0.7, 25, 245), any_colour(rng, 0.7, 25, 245), any_colour(rng, 0.8, 25, 245))
    across, down = between(rng, -0.85, 0.85), between(rng, -0.75, 0.1)
    norm = math.sqrt(across * across + down * down + 0.49)
    return Scene(
        backdrop=pick(rng, BACKDROPS),
        colours=colours,
        light=(across / norm, down / norm, 0.7 / norm),
        ambient=between(rng, 0.42, 0.72),
    )


def _camera(rng: np.random.Generator, low_light: bool) -> Camera:
    warm = between(rng, -0.12, 0.12)
    ordinary = Camera(
        gain=math.exp(0.22 * float(rng.standard_normal())),
        cast=(1 + warm, 1 + between(rng, -0.05, 0.05), 1 - warm),
        contrast=between(rng, 0.65, 1.12),
        blur=between(rng, 0.004, 0.017) if happens(rng, 0.45) else 0.0,
        motion=between(rng, 0.02, 0.07) if happens(rng, 0.15) else 0.0,
        motion_rad=between(rng, 0.0, math.pi),
        detail=between(rng, 0.35, 0.75) if happens(rng, 0.3) else 1.0,
        noise=between(rng, 1.0, 13.0),
        grey=happens(rng, 0.14),
        jpeg_quality=int(between(rng, 38, 95)),
    )
    if not low_light:
        return ordinary
    # Few photons: the noise hardly falls with the light.
    return replace(ordinary, gain=between(rng, 0.14, 0.40), noise=between(rng, 4.0, 13.0))


def _distractor(rng: np.random.Generator, kind: Kind, person: Person) -> Distractor | None:
    if kind == "unmasked" and happens(rng, _DISTRACTED_UNMASKED):
        thing = pick(rng, DISTRACTOR_KINDS, (30, 22, 24, 24))
    elif kind == "masked" and happens(rng, _HAND_OVER_MASK):
        thing = "hand"
    else:
        return None
    colour = scaled(person.skin, between(rng, 0.9, 1.05)) if thing == "hand" else any_colour(rng, 0.7, 60, 240)
    return Distractor(
        kind=thing,
        colour=colour,
        side=pick(rng, (-1.0, 1.0)),
        rise=between(rng, -0.12, 0.2),
        turn_rad=between(rng, -0.35, 0.35),
    )


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


def sample_mask_look(
    rng: np.random.Generator,
    mode: MaskMode,
    patterns: Sequence[MaskPattern],
    skin: Colour | None = None,
    kinds: Sequence[MaskKind] = MASK_KINDS,
) -> MaskLook:
    """Draw a mask of one of the kinds with one of the patterns; when skin is given, the cloth has about its colour."""
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
