"""Turn the description of a face into a picture."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from study.data.faces.camera import expose
from study.data.faces.canvas import ByteArray, FloatArray
from study.data.faces.chance import stream
from study.data.faces.description import FaceDescription
from study.data.faces.head_model import HeadFrame
from study.data.faces.mask_overlay import paint_mask
from study.data.faces.paint_distractor import paint_distractor
from study.data.faces.paint_features import paint_features, paint_glasses
from study.data.faces.paint_hair import paint_back_hair, paint_front_hair
from study.data.faces.paint_head import paint_ears, paint_skin
from study.data.faces.paint_scene import paint_backdrop, paint_body
from study.data.faces.sampling import describe
from study.data.faces.vocabulary import ALL_SPLITS, label_of
from study.errors import DataError

_MIN_SIZE_PX = 16


class _Texture(IntEnum):
    """One stream each, so that a mask does not shift the noise of what is painted after it."""

    BACKDROP = 0
    SKIN = 1
    HAIR = 2
    SENSOR = 3


@dataclass(frozen=True)
class Face:
    """One rendered picture.

    Attributes:
        image: uint8 [size, size, 3], RGB.
        label: index into CLASSES.
        kind: unmasked, masked, nose or chin.
    """

    image: ByteArray
    label: int
    kind: str


def render_face(seed: int, split: str, index: int, size_px: int) -> Face:
    """Render one image of a split; the same arguments give the same bytes.

    Args:
        seed: of the data set, not negative.
        split: one of ORDINARY_SPLITS or SHIFTED_SETS.
        index: place in the split, not negative.
        size_px: side of the picture.

    Raises:
        DataError: an argument is out of range.
    """
    check_request(seed, split, size_px)
    if index < 0:
        raise DataError(f"`index` must be >= 0, got {index}: images of a split count from 0")
    description = describe(seed, split, index)
    return Face(draw(description, size_px), label_of(description.kind), description.kind)


def check_request(seed: int, split: str, size_px: int) -> None:
    """Raise DataError unless the renderer can serve these arguments."""
    if split not in ALL_SPLITS:
        raise DataError(f"no such split: {split!r}; there are {', '.join(ALL_SPLITS)}")
    if seed < 0:
        raise DataError(f"`seed` must be >= 0, got {seed}: take any non-negative integer")
    if size_px < _MIN_SIZE_PX:
        raise DataError(f"`size_px` must be >= {_MIN_SIZE_PX}, got {size_px}: smaller faces cannot be told apart")


def draw(description: FaceDescription, size_px: int) -> ByteArray:
    """Paint a description, uint8 [size, size, 3] RGB."""
    return expose(paint(description, size_px), description.camera, stream(description.seed, _Texture.SENSOR))


def paint(description: FaceDescription, size_px: int) -> FloatArray:
    """Paint the clean picture before the camera, float32 [size, size, 3], 0-255."""
    person, scene = description.person, description.scene
    frame = frame_of(description, size_px)
    hair = stream(description.seed, _Texture.HAIR)
    canvas = paint_backdrop(scene, size_px, stream(description.seed, _Texture.BACKDROP))
    paint_body(canvas, frame, person, scene)
    paint_back_hair(canvas, frame, person, scene, hair)
    paint_ears(canvas, frame, person, scene)
    paint_skin(canvas, frame, person, scene, stream(description.seed, _Texture.SKIN))
    paint_features(canvas, frame, person, scene)
    if description.mask is not None:
        paint_mask(canvas, frame.landmarks(), description.mask)
    paint_glasses(canvas, frame, person)
    # Hair comes after the mask: it hides the ear loops.
    paint_front_hair(canvas, frame, person, scene, hair)
    if description.distractor is not None:
        paint_distractor(canvas, frame, description.distractor, person, scene)
    return np.clip(canvas, 0, 255, out=canvas)


def frame_of(description: FaceDescription, size_px: int) -> HeadFrame:
    """Return the head of a description in pixels of a picture of the given side."""
    pose, person = description.pose, description.person
    unit_px = pose.unit * size_px
    upright = HeadFrame((0.0, 0.0), unit_px, pose.yaw_rad, pose.roll_rad, person.chin, person.radius, person.jaw)
    middle_x, middle_y = upright.spot(0.0, 0.35)
    centre = (pose.x * size_px - 0.5 * middle_x, pose.y * size_px - middle_y)
    return HeadFrame(centre, unit_px, pose.yaw_rad, pose.roll_rad, person.chin, person.radius, person.jaw)
