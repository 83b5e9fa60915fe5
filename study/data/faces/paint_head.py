"""Paint the bare head: ears, shaded skin and beard."""

import math

import numpy as np

from study.data.faces.canvas import FloatArray, blend, coverage, ellipse_points, fill, soft_noise
from study.data.faces.chance import scaled
from study.data.faces.description import Person, Scene
from study.data.faces.head_model import HeadFrame, Surface

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
