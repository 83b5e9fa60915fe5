"""Paint the background and the shoulders behind a head."""

import math

import cv2
import numpy as np

from study.data.faces.canvas import FloatArray, ellipse_points, fill, soft_noise
from study.data.faces.chance import between, scaled
from study.data.faces.description import Person, Scene
from study.data.faces.head_model import HeadFrame


def paint_backdrop(scene: Scene, size_px: int, rng: np.random.Generator) -> FloatArray:
    """Return a new canvas with the background, float32 [size, size, 3]."""
    first, second, third = (np.array(colour, np.float32) for colour in scene.colours)
    corner = rng.random((2, 2, 1), dtype=np.float32)
    cells = 5 if scene.backdrop == "clouds" else 1
    grid = rng.random((cells + 1, cells + 1, 1), dtype=np.float32) if cells > 1 else corner
    coarse = first + (grid if cells > 1 else 0.45 * grid) * (second - first)
    canvas = np.asarray(cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.float32)
    if scene.backdrop == "shapes":
        _add_shapes(canvas, scene, rng)
    elif scene.backdrop == "bands":
        across = np.arange(size_px, dtype=np.float32) * np.float32(2 * math.pi * between(rng, 2, 6) / size_px)
        wave = np.clip(np.cos(across + np.float32(rng.random() * 6)) * np.float32(3), -1, 1) * np.float32(0.12)
        band = wave[None, :, None] if rng.random() < 0.5 else wave[:, None, None]
        canvas += band * (third - canvas)
    blur_px = size_px * between(rng, 0.004, 0.04)
    canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), blur_px), np.float32)
    canvas += (soft_noise(rng, (size_px, size_px), (9, 9)) * np.float32(7))[..., None]
    return np.clip(canvas, 0, 255, out=canvas)


def _add_shapes(canvas: FloatArray, scene: Scene, rng: np.random.Generator) -> None:
    """Lay a few discs and boxes over each other, like furniture out of focus."""
    size_px = canvas.shape[0]
    for _ in range(int(rng.integers(3, 7))):
        colour = scaled(scene.colours[int(rng.integers(3))], between(rng, 0.6, 1.3))
        centre = (between(rng, 0, size_px), between(rng, 0, size_px))
        radii = (size_px * between(rng, 0.05, 0.25), size_px * between(rng, 0.05, 0.25))
        points = ellipse_points(centre, radii, between(rng, 0, 3))
        fill(canvas, points if rng.random() < 0.5 else points[2::5], colour, between(rng, 0.4, 0.9))


def paint_body(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene) -> None:
    """Paint the shoulders upright and the neck between them and the head, both darker than the face."""
    unit = frame.unit_px
    chin_x, chin_y = frame.spot(0.0, frame.chin)
    base_x = 0.5 * (chin_x + frame.centre[0])
    shoulder_y = chin_y + 0.22 * unit
    sides = np.array((-2.7, -2.5, -1.8, -0.7, 0.7, 1.8, 2.5, 2.7), np.float32) * np.float32(unit)
    drops = np.array((5.0, 1.3, 0.75, 0.35, 0.35, 0.75, 1.3, 5.0), np.float32) * np.float32(unit)
    body = np.stack((base_x + sides, shoulder_y + drops), axis=1).astype(np.float32)
    tone = scene.ambient + 0.25
    fill(canvas, body, scaled(person.garment, 0.95 * tone))
    # The lit shoulder is on the light's side.
    lit = body + np.array((0.5 * unit * math.copysign(1.0, scene.light[0]), 0.25 * unit), np.float32)
    fill(canvas, lit, scaled(person.garment, 1.1 * tone), 0.6, 0.25 * unit)
    jaw_left, jaw_right = frame.spot(-0.75, 1.15), frame.spot(0.75, 1.15)
    collar_y = shoulder_y + 0.5 * unit
    neck = np.array(
        (jaw_left, jaw_right, (base_x + 0.72 * unit, collar_y), (base_x, collar_y + 0.3 * unit),
         (base_x - 0.72 * unit, collar_y)), np.float32
    )  # fmt: skip
    fill(canvas, neck, scaled(person.skin, 0.62 * tone))
