"""Describe one picture of a face completely, before anything is drawn; pure records."""

from dataclasses import dataclass

from study.data.synthetic_faces.mask_style import MaskLook
from study.data.synthetic_faces.random_draws import Colour
from study.data.synthetic_faces.vocabulary import Backdrop, DistractorKind, Glasses, HairStyle, Kind, Mouth


@dataclass(frozen=True)
class Pose:
    """Where the head is; lengths are fractions of the picture's side.

    Attributes:
        x: the middle between eyes and mouth, from the left.
        y: the same point, from the top.
        unit: distance from eye line to mouth line.
        yaw_rad: positive when the nose points to the right.
        roll_rad: positive clockwise.
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

    Attributes:
        backdrop: what is behind.
        colours: of the backdrop.
        light: unit vector towards the light: right, down, to the camera.
        ambient: share of the light that comes from everywhere.
    """

    backdrop: Backdrop
    colours: tuple[Colour, Colour, Colour]
    light: tuple[float, float, float]
    ambient: float


@dataclass(frozen=True)
class Distractor:
    """A thing held before the mouth.

    Attributes:
        kind: what it is.
        colour: of it, RGB 0-255.
        side: -1 when the hand comes from the left of the picture, 1 from the right.
        rise: how much higher than usual, in head units.
        turn_rad: how it is turned.
    """

    kind: DistractorKind
    colour: Colour
    side: float
    rise: float
    turn_rad: float


@dataclass(frozen=True)
class Camera:
    """How the picture is spoilt, the same for both classes.

    Attributes:
        gain: exposure, 1 for a well lit picture.
        cast: factor of each channel.
        contrast: around middle grey.
        blur: standard deviation as a fraction of the side.
        motion: length of the motion blur as a fraction of the side, 0 for none.
        motion_rad: its direction.
        detail: side of the picture it was enlarged from, as a fraction; 1 for none.
        noise: standard deviation, 0-255.
        grey: whether the colours are lost.
        jpeg_quality: 1-100.
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
    """Everything that decides a picture besides its size.

    Attributes:
        kind: masked, unmasked, nose or chin.
        pose: where the head is.
        person: who it is.
        scene: light and background.
        mask: the mask, or None.
        distractor: a thing before the mouth, or None.
        camera: how the picture is spoilt.
        seed: fixes textures and noise.
    """

    kind: Kind
    pose: Pose
    person: Person
    scene: Scene
    mask: MaskLook | None
    distractor: Distractor | None
    camera: Camera
    seed: int
