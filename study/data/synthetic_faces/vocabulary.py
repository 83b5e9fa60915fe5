"""The words and records that describe a picture of a face before anything is drawn; pure."""

from dataclasses import dataclass
from typing import Final, Literal

RENDERER_VERSION: Final[int] = 1
MIN_COUNT: Final[int] = 40

Colour = tuple[float, float, float]
"""RGB, 0-255."""

CLASSES: Final = ("not_wearing_mask", "wearing_mask")
ORDINARY_SPLITS: Final = ("train", "val", "test")
SHIFTED_SETS: Final = ("offcentre", "lowlight", "patterns")
ALL_SPLITS: Final[tuple[str, ...]] = ORDINARY_SPLITS + SHIFTED_SETS

Kind = Literal["masked", "unmasked", "nose", "chin"]
KINDS: Final[tuple[Kind, ...]] = ("masked", "unmasked", "nose", "chin")
# Eight images hold the mix; any prefix is balanced to within one block.
KIND_BLOCK: Final[tuple[Kind, ...]] = (
    "masked",
    "unmasked",
    "nose",
    "masked",
    "unmasked",
    "chin",
    "masked",
    "unmasked",
)

MaskKind = Literal["surgical", "n95", "kn95", "cloth"]
MaskMode = Literal["proper", "nose", "chin"]
MaskPattern = Literal["solid", "stripes", "dots", "blotch", "plaid", "floral"]
MASK_KINDS: Final[tuple[MaskKind, ...]] = ("surgical", "n95", "kn95", "cloth")
MASK_MODES: Final[tuple[MaskMode, ...]] = ("proper", "nose", "chin")
ORDINARY_PATTERNS: Final[tuple[MaskPattern, ...]] = ("solid", "stripes", "dots", "blotch")
HELD_OUT_PATTERNS: Final[tuple[MaskPattern, ...]] = ("plaid", "floral")

HairStyle = Literal["short", "long", "bald", "afro", "cap", "hijab", "bun"]
Glasses = Literal["none", "clear", "sun"]
Mouth = Literal["closed", "smile", "open"]
Backdrop = Literal["plain", "clouds", "shapes", "bands"]
DistractorKind = Literal["hand", "book", "scarf", "cup"]
HAIR_STYLES: Final[tuple[HairStyle, ...]] = ("short", "long", "bald", "afro", "cap", "hijab", "bun")
DISTRACTOR_KINDS: Final[tuple[DistractorKind, ...]] = ("hand", "book", "scarf", "cup")
BACKDROPS: Final[tuple[Backdrop, ...]] = ("plain", "clouds", "shapes", "bands")


def shifted_count(count: int) -> int:
    """Return how many images each shifted set has beside ``count`` ordinary ones: a tenth, at least 40."""
    return max(MIN_COUNT, round(0.1 * count))


def label_of(kind: str) -> int:
    """Return 1 for a properly worn mask, 0 for everything else."""
    return int(kind == "masked")


@dataclass(frozen=True)
class MaskLook:
    """What a mask looks like and how it is worn; colours are those of the cloth and of what is printed on it.

    ``pitch`` is repeats of the pattern in one head unit, ``turn_rad`` its direction; the mask sits ``drop`` head units
    lower than usual, ``reach`` scales its width around the head; ``seed`` fixes wrinkles and the pattern's offset.
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


@dataclass(frozen=True)
class Pose:
    """Where the head is; lengths are fractions of the picture's side.

    ``x`` and ``y`` are of the middle between eyes and mouth, from the left and the top; ``unit`` is the distance from
    eye line to mouth line; ``yaw_rad`` is positive when the nose points to the right, ``roll_rad`` clockwise.
    """

    x: float
    y: float
    unit: float
    yaw_rad: float
    roll_rad: float


@dataclass(frozen=True)
class Person:
    """What a person looks like; colours are RGB 0-255, lengths in head units."""

    skin: Colour
    hair: Colour
    style: HairStyle
    wear: Colour
    garment: Colour
    iris: Colour
    lips: Colour
    chin: float
    radius: float
    jaw: float
    beard: float
    glasses: Glasses
    mouth: Mouth
    eyes_open: float
    brow: float


@dataclass(frozen=True)
class Scene:
    """Light and background.

    ``light`` is the unit vector towards the light: right, down, to the camera; ``ambient`` the share from everywhere.
    """

    backdrop: Backdrop
    colours: tuple[Colour, Colour, Colour]
    light: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Distractor:
    """A thing held before the mouth.

    ``side`` is -1 when the hand comes from the left of the picture, else 1; the thing is ``rise`` head units higher
    than usual.
    """

    kind: DistractorKind
    colour: Colour
    side: float
    rise: float
    turn_rad: float


@dataclass(frozen=True)
class Camera:
    """How the picture is spoilt, the same for both classes.

    ``gain`` is the exposure, 1 for a well lit picture; ``cast`` a factor of each channel; ``contrast`` is around middle
    grey; ``blur``, a standard deviation, and ``motion``, a length, are fractions of the side, and so is ``detail``, the
    side of the picture it was enlarged from; ``noise`` is a standard deviation, 0-255; ``grey`` loses the colours.
    """

    gain: float
    cast: Colour
    contrast: float
    blur: float
    motion: float
    motion_rad: float
    detail: float
    noise: float
    grey: bool
    jpeg_quality: int


@dataclass(frozen=True)
class FaceDescription:
    """Everything that decides a picture besides its size; ``seed`` fixes textures and noise."""

    kind: Kind
    pose: Pose
    person: Person
    scene: Scene
    mask: MaskLook | None
    distractor: Distractor | None
    camera: Camera
    seed: int
