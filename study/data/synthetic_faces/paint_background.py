"""Paint the backdrop, the body and the bare head: ears, shaded skin and beard."""

import math

import cv2
import numpy as np

from study.data.synthetic_faces.drawing import (
    FloatArray,
    between,
    blend,
    coverage,
    ellipse_points,
    fill,
    scaled,
    soft_noise,
)
from study.data.synthetic_faces.head_geometry import HeadFrame, Surface
from study.data.synthetic_faces.vocabulary import Person, Scene

_EAR_AZIMUTH_RAD = 1.52


def shading(scene: Scene, surface: Surface) -> FloatArray:
    """Return Lambert shading of the head, [H, W] around 1."""
    right, down, front = scene.light
    outward = np.sqrt(np.float32(1.0) - surface.sine * surface.sine)
    slope = np.clip((surface.height - np.float32(0.25)) * np.float32(0.42), -0.8, 0.8)
    lambert = surface.sine * np.float32(right) + slope * np.float32(down) + outward * np.float32(front)
    diffuse = np.float32(1.22 * (1.0 - scene.ambient))
    return np.asarray(np.float32(scene.ambient + 0.08) + diffuse * np.clip(lambert, 0.0, None), np.float32)


def paint_ears(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene) -> None:
    """Paint the ears that are on the visible side."""
    for side in (-1.0, 1.0):
        angle = side * _EAR_AZIMUTH_RAD + frame.yaw_rad
        if math.cos(angle) < -0.35:
            continue
        centre = frame.spot(side * _EAR_AZIMUTH_RAD * frame.radius, 0.30, 0.04)
        lit = scene.ambient + 0.12 + 0.5 * max(0.0, side * scene.light[0])
        width = (0.12 + 0.12 * max(0.0, math.cos(angle))) * frame.unit_px
        fill(canvas, ellipse_points(centre, (width, 0.33 * frame.unit_px), frame.roll_rad), scaled(person.skin, lit))
        inner = ellipse_points(centre, (0.5 * width, 0.2 * frame.unit_px), frame.roll_rad)
        fill(canvas, inner, scaled(person.skin, 0.7 * lit), 0.7, 0.03 * frame.unit_px)


def paint_skin(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene, rng: np.random.Generator) -> None:
    """Paint skin with its shading, cheeks, mottling and beard."""
    box = frame.box(canvas.shape, -1.35, -1.55, 1.35, 1.85)
    if box.right <= box.left or box.bottom <= box.top:
        return
    surface = frame.surface(box)
    light = shading(scene, surface)
    mottle = soft_noise(rng, light.shape, (14, 14)) + soft_noise(rng, light.shape, (34, 34))
    light *= np.float32(1.0) + np.float32(0.028) * mottle
    # Sockets and the hollow under the cheekbone make the front of the face less of a tube.
    light *= np.float32(1.0) - np.float32(0.20) * _bump(surface, 0.47, 0.0, 7.0, 16.0)
    light *= np.float32(1.0) + np.float32(0.07) * _bump(surface, 0.50, 0.45, 8.0, 10.0)
    tint = np.array(person.skin, np.float32) * light[..., None]
    flush = np.float32(0.16) * _bump(surface, 0.60, 0.55, 7.0, 9.0)
    tint += flush[..., None] * (np.array((205.0, 88.0, 78.0), np.float32) * light[..., None] - tint)
    if person.beard > 0:
        hair = np.array(scaled(person.hair, 0.8), np.float32) * light[..., None]
        tint += _beard(person, surface, rng)[..., None] * (hair - tint)
    blend(box.cut(canvas), coverage(surface.edge_px), tint)


def _bump(surface: Surface, azimuth: float, height: float, sharp_x: float, sharp_y: float) -> FloatArray:
    """Return a soft spot on both sides of the nose, 0-1."""
    aside = np.abs(surface.azimuth) - np.float32(azimuth)
    below = surface.height - np.float32(height)
    return np.asarray(np.exp(aside * aside * np.float32(-sharp_x) - below * below * np.float32(sharp_y)), np.float32)


def _beard(person: Person, surface: Surface, rng: np.random.Generator) -> FloatArray:
    """Return how much of the skin is beard: jaw, chin and moustache, not the lips."""
    aside = np.abs(surface.azimuth)
    line = np.float32(1.08) - np.float32(0.62) * np.clip(aside * np.float32(1.1) - np.float32(0.25), 0.0, 1.0)
    field = np.clip((surface.height - line) * np.float32(7.0), 0.0, 1.0)
    moustache = np.clip(np.float32(1.0) - np.abs(surface.height - np.float32(0.86)) * np.float32(11.0), 0.0, 1.0)
    field = np.maximum(field, moustache * np.clip((np.float32(0.5) - aside) * np.float32(6.0), 0.0, 1.0))
    grain = np.float32(0.82) + np.float32(0.25) * soft_noise(rng, field.shape, (40, 40))
    return np.asarray(np.clip(field * grain * np.float32(person.beard), 0.0, 1.0), np.float32)


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
