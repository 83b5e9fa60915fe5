"""Paint hair and what is worn on it, first behind the head, then in front."""

import math

import numpy as np

from study.data.synthetic_faces.drawing import (
    FloatArray,
    blend,
    coverage,
    ellipse_points,
    fill,
    scaled,
    soft_noise,
    stroke,
)
from study.data.synthetic_faces.head_geometry import HeadFrame, Surface
from study.data.synthetic_faces.paint_background import shading
from study.data.synthetic_faces.vocabulary import Colour, Person, Scene

_STRANDS = 72


def paint_back_hair(
    canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene, rng: np.random.Generator
) -> None:
    """Paint the hair that is seen beside and above the head."""
    unit, tone = frame.unit_px, scene.ambient + 0.12
    back_x = _back_x(frame)
    if person.style == "long":
        side = np.array((0.55, 0.92, 1.10, 1.22, 1.28, 1.26, 1.18, 0.9), np.float32)
        fall = np.array((-1.32, -1.0, -0.65, -0.1, 0.6, 1.2, 1.9, 2.3), np.float32)
        x = np.concatenate((side, -side[::-1])) + np.float32(back_x)
        outline = frame.to_pixels(x, np.concatenate((fall, fall[::-1])))
        fill(canvas, outline, scaled(person.hair, 0.62 * tone / 0.7))
    elif person.style == "afro":
        _curls(canvas, frame, person, scene, rng)
    elif person.style == "bun":
        spot = frame.to_pixels(np.array([back_x], np.float32), np.array([-1.62], np.float32))[0].tolist()
        fill(canvas, ellipse_points((spot[0], spot[1]), (0.42 * unit, 0.36 * unit)), scaled(person.hair, 1.1 * tone))
        knot = ellipse_points((spot[0], spot[1] - 0.05 * unit), (0.22 * unit, 0.17 * unit))
        fill(canvas, knot, scaled(person.hair, 1.5 * tone), 0.5, 0.1 * unit)
    elif person.style == "hijab":
        side = np.array((0.5, 0.92, 1.14, 1.25, 1.28, 1.28, 1.4, 1.9), np.float32)
        fall = np.array((-1.4, -1.1, -0.75, -0.3, 0.3, 1.2, 1.9, 2.5), np.float32)
        x = np.concatenate((side, -side[::-1])) + np.float32(back_x)
        fill(canvas, frame.to_pixels(x, np.concatenate((fall, fall[::-1]))), scaled(person.wear, 0.7 * tone / 0.7))


def _back_x(frame: HeadFrame) -> float:
    """Return how far the back of the head is off its axis: heads are longer than wide."""
    return -0.16 * math.sin(frame.yaw_rad)


def _curls(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene, rng: np.random.Generator) -> None:
    """A ball of hair with a ragged edge."""
    box = frame.box(canvas.shape, -1.95, -2.15, 1.95, 1.35)
    if box.right <= box.left or box.bottom <= box.top:
        return
    x, height = frame.to_units(box)
    x = (x - np.float32(_back_x(frame))) * np.float32(1 / 1.55)
    height = (height + np.float32(0.42)) * np.float32(1 / 1.45)
    curl = soft_noise(rng, x.shape, (22, 22)) + soft_noise(rng, x.shape, (44, 44))
    edge = np.float32(1.0) - np.sqrt(x * x + height * height) + np.float32(0.035) * curl
    side_light = np.float32(0.45 * scene.light[0]) * x
    light = np.float32(scene.ambient + 0.12) * (np.float32(1.0) + np.float32(0.28) * curl + side_light)
    colour = np.array(person.hair, np.float32) * light[..., None]
    blend(box.cut(canvas), coverage(edge * np.float32(1.4 * frame.unit_px)), colour)


def paint_front_hair(
    canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene, rng: np.random.Generator
) -> None:
    """Paint the hair over forehead and temples, a cap or a hijab."""
    box = frame.box(canvas.shape, -1.6, -1.9, 1.6, 2.3)
    if person.style == "bald" or box.right <= box.left or box.bottom <= box.top:
        return
    if person.style == "hijab":
        _wrap(canvas, frame, person, scene, rng)
        return
    swell = {"short": 1.07, "long": 1.10, "afro": 1.10, "bun": 1.05, "cap": 1.04}.get(person.style, 1.06)
    surface = frame.surface(box, swell=swell)
    aside = np.abs(surface.azimuth)
    fringe = np.float32(0.05) * soft_noise(rng, aside.shape, (4, 22))
    if person.style == "long":
        temple = np.clip((aside - np.float32(0.62)) * np.float32(2.6), 0.0, 1.0)
        line = np.float32(-0.72) + np.float32(0.20) * aside + np.float32(2.6) * temple * temple
    else:
        temple = np.clip((aside - np.float32(0.86)) * np.float32(3.0), 0.0, 1.0)
        line = np.float32(-0.66) + np.float32(0.10) * aside + np.float32(0.85) * temple
    inside = (line + fringe - surface.height) * np.float32(frame.unit_px)
    alpha = coverage(np.minimum(inside, surface.edge_px), 1.3)
    light = shading(scene, surface) * _strands(surface, person, rng)
    blend(box.cut(canvas), alpha, np.array(person.hair, np.float32) * light[..., None])
    if person.style == "cap":
        _cap(canvas, frame, person, scene)


def _strands(surface: Surface, person: Person, rng: np.random.Generator) -> FloatArray:
    """Return the brightness of single locks: they run down the head, or curl."""
    if person.style == "afro":
        shape = surface.height.shape
        return np.asarray(
            np.float32(0.95) + np.float32(0.25) * (soft_noise(rng, shape, (20, 20)) + soft_noise(rng, shape, (40, 40))),
            np.float32,
        )
    lock = rng.random(_STRANDS * 3, dtype=np.float32)
    along = (
        surface.azimuth + np.float32(1.6) + np.float32(0.06) * np.sin(surface.height * np.float32(4.0))
    ) * np.float32(_STRANDS / 3.2)
    table = np.clip(along, 0, _STRANDS * 3 - 1)
    first = table.astype(np.int32)
    return np.asarray(np.float32(0.72) + np.float32(0.55) * lock[first], np.float32)


def _cap(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene) -> None:
    """A dome down to the brow with a visor that points where the nose does."""
    box = frame.box(canvas.shape, -1.6, -1.9, 1.6, 0.2)
    surface = frame.surface(box, swell=1.10)
    line = np.float32(-0.60) + np.float32(0.16) * surface.azimuth * surface.azimuth
    alpha = coverage(np.minimum((line - surface.height) * np.float32(frame.unit_px), surface.edge_px))
    light = shading(scene, surface) * np.float32(1.05)
    seam = np.float32(1.0) - np.float32(0.12) * (np.abs(np.sin(surface.azimuth * np.float32(2.0))) < 0.06)
    blend(box.cut(canvas), alpha, np.array(person.wear, np.float32) * (light * seam)[..., None])
    span = np.linspace(-1.0, 1.0, 11, dtype=np.float32)
    upper = frame.place(0.85 * span, -0.62 - 0.06 * (1 - span * span), 0.08)
    lower = frame.place(0.88 * span, -0.55 + 0.17 * (1 - span * span), 0.32)
    tone = scene.ambient + 0.25
    fill(canvas, lower + np.array((0, 0.06 * frame.unit_px), np.float32), (20.0, 16.0, 16.0), 0.25)
    fill(canvas, np.concatenate((upper, lower[::-1])), scaled(person.wear, 0.72 * tone))
    stroke(canvas, lower, scaled(person.wear, 1.1 * tone), 0.04 * frame.unit_px, 0.7)


def _wrap(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene, rng: np.random.Generator) -> None:
    """A scarf around the head that leaves an oval for the face."""
    box = frame.box(canvas.shape, -1.75, -1.95, 1.75, 2.6)
    surface = frame.surface(box, swell=1.13, chin_drop=0.25)
    window_x = surface.azimuth * np.float32(1 / 0.98)
    window_y = (surface.height - np.float32(0.44)) * np.float32(1 / 1.17)
    outside = (np.sqrt(window_x * window_x + window_y * window_y) - np.float32(1.0)) * np.float32(frame.unit_px)
    alpha = coverage(np.minimum(outside, surface.edge_px))
    ripple = np.sin(outside * np.float32(14.0 / frame.unit_px) + surface.azimuth * np.float32(1.7))
    light = shading(scene, surface) * (np.float32(0.95) + np.float32(0.07) * ripple)
    rim = np.clip(np.float32(1.0) - outside * np.float32(7.0 / frame.unit_px), 0.0, 1.0)
    blend(box.cut(canvas), alpha, _dyed(person.wear, light * (np.float32(1.0) - np.float32(0.25) * rim)))


def _dyed(colour: Colour, light: FloatArray) -> FloatArray:
    return np.asarray(np.array(colour, np.float32) * light[..., None], np.float32)
