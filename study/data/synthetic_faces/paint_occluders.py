"""Paint things that cover a bare mouth without being a mask: a hand, a book, a scarf, a cup."""

from collections.abc import Callable
from typing import Final

import numpy as np

from study.data.synthetic_faces.drawing import FloatArray, blend, coverage, ellipse_points, fill, stroke
from study.data.synthetic_faces.head_geometry import HeadFrame
from study.data.synthetic_faces.random_draws import scaled
from study.data.synthetic_faces.scene import Distractor, Person, Scene
from study.data.synthetic_faces.vocabulary import DistractorKind

Painter = Callable[[FloatArray, HeadFrame, Distractor, Person, Scene], None]


def paint_distractor(canvas: FloatArray, frame: HeadFrame, thing: Distractor, person: Person, scene: Scene) -> None:
    """Paint a thing before the mouth, in place."""
    _PAINTERS[thing.kind](canvas, frame, thing, person, scene)


def _corner_points(frame: HeadFrame, thing: Distractor, x: FloatArray, y: FloatArray) -> FloatArray:
    """Turn a flat thing's own coordinates, head units from the mouth, into [n, 2] pixels."""
    cosine, sine = np.float32(np.cos(thing.turn_rad)), np.float32(np.sin(thing.turn_rad))
    mouth_x, mouth_y = frame.spot(0.0, 1.0 - thing.rise, 0.15)
    flat_x, flat_y = cosine * x - sine * y, sine * x + cosine * y
    points = np.stack((mouth_x + flat_x * frame.unit_px, mouth_y + flat_y * frame.unit_px), axis=1)
    return points.astype(np.float32)


def _hand(canvas: FloatArray, frame: HeadFrame, thing: Distractor, person: Person, scene: Scene) -> None:
    """Four fingers lie across the mouth, the palm on one side, the arm from below."""
    unit, side, tone = frame.unit_px, thing.side, scene.ambient + 0.36
    skin, edge = scaled(thing.colour, tone), scaled(thing.colour, 0.55 * tone)
    wrist = np.array((0.75, 1.35, 2.2, 1.2), np.float32) * np.float32(side)
    fill(canvas, _corner_points(frame, thing, wrist, np.array((0.5, 0.2, 3.0, 3.2), np.float32)), scaled(skin, 0.9))
    palm_x, palm_y = _corner_points(frame, thing, np.array([0.72 * side], np.float32), np.array([0.2], np.float32))[
        0
    ].tolist()
    fill(canvas, ellipse_points((palm_x, palm_y), (0.58 * unit, 0.55 * unit)), scaled(skin, 0.95))
    for row, reach in ((0.42, -0.45), (0.20, -0.68), (-0.03, -0.72), (-0.26, -0.55)):
        x = np.array((0.7, 0.1, reach), np.float32) * np.float32(side)
        finger = _corner_points(frame, thing, x, np.array((row, row - 0.04, row + 0.03), np.float32))
        stroke(canvas, finger, edge, 0.27 * unit, 0.9)
        stroke(canvas, finger, skin, 0.21 * unit)
        nail = ellipse_points((float(finger[2, 0]), float(finger[2, 1])), (0.07 * unit, 0.055 * unit))
        fill(canvas, nail, scaled((232.0, 190.0, 178.0), tone), 0.5)


def _book(canvas: FloatArray, frame: HeadFrame, thing: Distractor, person: Person, scene: Scene) -> None:
    tone = scene.ambient + 0.38
    x = np.array((-0.85, 0.85, 0.85, -0.85), np.float32)
    y = np.array((-0.42, -0.42, 1.7, 1.7), np.float32)
    fill(canvas, _corner_points(frame, thing, x * 1.05, y + 0.05), (15.0, 12.0, 12.0), 0.4, 0.06 * frame.unit_px)
    fill(canvas, _corner_points(frame, thing, x, y), scaled(thing.colour, tone))
    ink = scaled(thing.colour, 0.5 * tone) if sum(thing.colour) > 330 else scaled(thing.colour, 2.0 * tone)
    for row in (-0.15, 0.05, 0.25, 0.45, 0.65):
        line = _corner_points(frame, thing, np.array((-0.6, 0.6), np.float32), np.array((row, row), np.float32))
        stroke(canvas, line, ink, 0.06 * frame.unit_px, 0.8)
    spine = _corner_points(frame, thing, np.array((-0.78, -0.78), np.float32), np.array((-0.4, 1.7), np.float32))
    stroke(canvas, spine, scaled(thing.colour, 0.7 * tone), 0.08 * frame.unit_px)


def _scarf(canvas: FloatArray, frame: HeadFrame, thing: Distractor, person: Person, scene: Scene) -> None:
    """Knitted bands wound around neck and mouth, wider than the head."""
    box = frame.box(canvas.shape, -1.8, 0.3, 1.8, 3.0)
    if box.right <= box.left or box.bottom <= box.top:
        return
    x, height = frame.to_units(box)
    across = np.clip(x * np.float32(1 / 1.3), -1.0, 1.0)
    upper = np.float32(0.74 - thing.rise) + np.float32(0.16) * across * across
    half = np.float32(1.22) + np.float32(0.28) * np.clip(height - np.float32(1.0), 0.0, 1.0)
    inside = np.minimum(height - upper, half - np.abs(x)) * np.float32(frame.unit_px)
    wave = np.sin((height - upper) * np.float32(11.0) + across * np.float32(2.0 * thing.turn_rad * 3.0))
    knit = np.sin(x * np.float32(24.0))
    light = np.sqrt(np.float32(1.0) - np.float32(0.75) * across * across) * np.float32(scene.ambient + 0.4)
    light = light * (np.float32(0.88) + np.float32(0.16) * wave + np.float32(0.04) * knit)
    blend(box.cut(canvas), coverage(inside), np.array(thing.colour, np.float32) * light[..., None])


def _cup(canvas: FloatArray, frame: HeadFrame, thing: Distractor, person: Person, scene: Scene) -> None:
    """A mug at the mouth with the fingers that hold it."""
    unit, tone = frame.unit_px, scene.ambient + 0.36
    x = np.array((-0.52, 0.52, 0.42, -0.42), np.float32)
    y = np.array((-0.2, -0.2, 1.05, 1.05), np.float32)
    fill(canvas, _corner_points(frame, thing, x, y), scaled(thing.colour, tone))
    lit = np.array((0.15, 0.42, 0.36, 0.12), np.float32) * np.float32(-thing.side)
    fill(canvas, _corner_points(frame, thing, lit, y), scaled(thing.colour, 1.35 * tone), 0.6, 0.08 * unit)
    rim = _corner_points(frame, thing, np.array([0.0], np.float32), np.array([-0.2], np.float32))[0].tolist()
    fill(
        canvas,
        ellipse_points((rim[0], rim[1]), (0.52 * unit, 0.13 * unit), thing.turn_rad),
        scaled(thing.colour, 0.6 * tone),
    )
    for row in (0.25, 0.47, 0.69, 0.9):
        reach = np.array((0.75, 0.25, -0.12), np.float32) * np.float32(thing.side)
        finger = _corner_points(frame, thing, reach, np.array((row + 0.1, row, row), np.float32))
        stroke(canvas, finger, scaled(person.skin, 0.55 * tone), 0.24 * unit, 0.9)
        stroke(canvas, finger, scaled(person.skin, tone), 0.18 * unit)


_PAINTERS: Final[dict[DistractorKind, Painter]] = {"hand": _hand, "book": _book, "scarf": _scarf, "cup": _cup}
