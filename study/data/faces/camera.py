"""Spoil a clean picture the way cameras do, the same way for both classes."""

import math

import cv2
import numpy as np

from study.data.faces.canvas import ByteArray, FloatArray, blurred
from study.data.faces.description import Camera

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
_MIDDLE_GREY = 118.0


def expose(canvas: FloatArray, camera: Camera, rng: np.random.Generator) -> ByteArray:
    """Return the picture a camera would save.

    Args:
        canvas: float32 [size, size, 3], RGB 0-255; used up.
        camera: what it does to pictures.
        rng: of the noise.

    Returns:
        uint8 [size, size, 3].
    """
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
