"""Turn the description of a face into a picture."""

import math
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from study.data.synthetic_faces.drawing import ByteArray, FloatArray, blurred, stream
from study.data.synthetic_faces.head_geometry import HeadFrame
from study.data.synthetic_faces.mask import paint_mask
from study.data.synthetic_faces.paint_background import paint_backdrop, paint_body, paint_ears, paint_skin
from study.data.synthetic_faces.paint_face import paint_distractor, paint_features, paint_glasses
from study.data.synthetic_faces.paint_hair import paint_back_hair, paint_front_hair
from study.data.synthetic_faces.sampling import describe
from study.data.synthetic_faces.vocabulary import ALL_SPLITS, Camera, FaceDescription, label_of
from study.errors import DataError

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_MIDDLE_GREY = 118.0


def expose(canvas: FloatArray, camera: Camera, rng: np.random.Generator) -> ByteArray:
    """Return the picture a camera would save, uint8 [size, size, 3]; the canvas, RGB 0-255, is used up."""
    size_px = canvas.shape[0]
    picture = _lens(canvas, camera, size_px)
    light = np.array(camera.cast, np.float32) * np.float32(camera.gain)
    picture = picture * (light * np.float32(camera.contrast))
    picture += light * np.float32(_MIDDLE_GREY * (1.0 - camera.contrast))
    # Half of the noise is the same in all channels, as after a sensor's colour mosaic.
    grain = rng.standard_normal((size_px, size_px, 3), dtype=np.float32)
    grain *= np.float32(0.5 * camera.noise)
    grain += rng.standard_normal((size_px, size_px, 1), dtype=np.float32) * np.float32(0.75 * camera.noise)
    picture += grain
    if camera.grey:
        picture = np.repeat((picture @ _LUMA)[..., None], 3, axis=2)
    return _jpeg(np.clip(picture, 0, 255, out=picture).astype(np.uint8), camera.jpeg_quality)


def _lens(picture: FloatArray, camera: Camera, size_px: int) -> FloatArray:
    """Blur by focus, by motion and by too few pixels."""
    if camera.motion > 0:
        picture = np.asarray(cv2.filter2D(picture, -1, _motion_kernel(camera, size_px)), np.float32)
    if camera.blur > 0:
        picture = blurred(picture, camera.blur * size_px)
    if camera.detail < 1:
        small = max(8, round(camera.detail * size_px))
        coarse = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = np.asarray(cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_LINEAR), np.float32)
    return picture


def _motion_kernel(camera: Camera, size_px: int) -> FloatArray:
    """Return a line of the motion's length and direction that sums to one."""
    half = max(1, round(0.5 * camera.motion * size_px))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    reach = (half * math.cos(camera.motion_rad), half * math.sin(camera.motion_rad))
    ends = [(round((half + sign * reach[0]) * 16), round((half + sign * reach[1]) * 16)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], (255,), 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return np.asarray(weights / np.float32(weights.sum()), np.float32)


def _jpeg(picture: ByteArray, quality: int) -> ByteArray:
    """Save as JPEG and load again."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV always saves and loads an 8-bit picture"
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


_MIN_SIZE_PX = 16


class _Texture(IntEnum):
    """One stream each, so that a mask does not shift the noise of what is painted after it."""

    BACKDROP = 0
    SKIN = 1
    HAIR = 2
    SENSOR = 3


@dataclass(frozen=True)
class Face:
    """One rendered picture: uint8 RGB [size, size, 3], its index into CLASSES, and unmasked, masked, nose or chin."""

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
