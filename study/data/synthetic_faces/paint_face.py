"""Paint eyes, brows, nose, mouth and glasses onto a head, and things held before the mouth that are no mask."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from study.data.synthetic_faces.drawing import (
    FloatArray,
    blend,
    coverage,
    ellipse_points,
    fill,
    mix,
    scaled,
    stroke,
)
from study.data.synthetic_faces.head_geometry import NOSE_HEIGHT, NOSE_LIFT, HeadFrame
from study.data.synthetic_faces.vocabulary import Colour, Distractor, DistractorKind, Person, Scene

_EYE_ARC = 0.485
_ANGLE = np.linspace(0.0, 2 * np.pi, 18, endpoint=False, dtype=np.float32)
_COS, _SIN = np.cos(_ANGLE), np.sin(_ANGLE)
_SPAN = np.linspace(-1.0, 1.0, 9, dtype=np.float32)
_INK: Colour = (34.0, 22.0, 20.0)


def _oval(frame: HeadFrame, arc: float, height: float, wide: float, tall: float) -> FloatArray:
    """Return an ellipse that lies on the head, [18, 2] pixels."""
    return frame.place(np.float32(arc) + np.float32(wide) * _COS, np.float32(height) + np.float32(tall) * _SIN)


def _faces_camera(frame: HeadFrame, arc: float) -> bool:
    return abs(arc / frame.radius + frame.yaw_rad) < 1.35


def paint_features(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene) -> None:
    """Paint everything between forehead and chin, from the back to the front."""
    light = scene.ambient + 0.42
    for arc in (-_EYE_ARC, _EYE_ARC):
        if _faces_camera(frame, arc):
            _eye(canvas, frame, person, arc, light)
            _brow(canvas, frame, person, arc, light)
    _mouth(canvas, frame, person, light)
    _nose(canvas, frame, person, scene, light)


def _eye(canvas: FloatArray, frame: HeadFrame, person: Person, arc: float, light: float) -> None:
    unit = frame.unit_px
    lid = scaled(mix(person.skin, _INK, 0.55), light)
    upper = frame.place(np.float32(arc) + np.float32(0.205) * _SPAN, -0.085 * person.eyes_open * (1 - _SPAN * _SPAN))
    if person.eyes_open <= 0:
        sunk = frame.place(np.float32(arc) + np.float32(0.2) * _SPAN, 0.05 * (1 - _SPAN * _SPAN))
        stroke(canvas, sunk, scaled(_INK, light), 0.05 * unit, 0.9)
        return
    lower = frame.place(np.float32(arc) + np.float32(0.205) * _SPAN, 0.065 * person.eyes_open * (1 - _SPAN * _SPAN))
    fill(canvas, np.concatenate((upper, lower[::-1])), scaled((236.0, 232.0, 226.0), min(1.0, light)))
    radius = 0.088
    tall = min(radius, 0.082 * person.eyes_open)
    fill(canvas, _oval(frame, arc, -0.005, radius, tall), scaled(person.iris, light))
    fill(canvas, _oval(frame, arc, -0.005, 0.045, min(0.045, tall)), (14.0, 12.0, 14.0), 0.95)
    stroke(canvas, upper, scaled(_INK, light), 0.055 * unit, 0.95)
    stroke(canvas, lower, lid, 0.025 * unit, 0.7)
    crease = frame.place(np.float32(arc) + np.float32(0.2) * _SPAN, -0.06 - 0.1 * (1 - _SPAN * _SPAN))
    stroke(canvas, crease, lid, 0.03 * unit, 0.35)
    glint = frame.place(np.float32(arc + 0.03) + np.float32(0.02) * _COS, np.float32(-0.035) + np.float32(0.02) * _SIN)
    fill(canvas, glint, (250.0, 250.0, 250.0), 0.8)


def _brow(canvas: FloatArray, frame: HeadFrame, person: Person, arc: float, light: float) -> None:
    outward = math.copysign(1.0, arc)
    along = np.float32(arc) + np.float32(0.27) * _SPAN
    arch = -0.27 - 0.05 * person.brow - 0.07 * (1 - (_SPAN - 0.3 * outward) ** 2)
    thick = (0.025 + 0.035 * person.brow) * (1.0 - 0.55 * _SPAN * outward)
    outline = np.concatenate((frame.place(along, arch - thick), frame.place(along, arch + thick)[::-1]))
    fill(canvas, outline, scaled(mix(person.hair, _INK, 0.35), light), 0.85, 0.012 * frame.unit_px)


def _nose(canvas: FloatArray, frame: HeadFrame, person: Person, scene: Scene, light: float) -> None:
    """Shade the nose on the side away from the light; its tip stands out, so it swings with the yaw."""
    unit = frame.unit_px
    dark, bright = scaled(person.skin, 0.62 * light), scaled(person.skin, 1.22 * light)
    away = -math.copysign(1.0, scene.light[0])
    wing = 0.235
    outline = np.array((0.05, 0.0, 0.0, wing, 0.13)) * away
    side = frame.place(
        outline, (0.0, NOSE_HEIGHT, NOSE_HEIGHT + 0.1, NOSE_HEIGHT + 0.06, 0.25), (0.1, NOSE_LIFT, 0.12, 0.05, 0.02)
    )
    fill(canvas, side, dark, 0.55, 0.035 * unit)
    ridge = frame.place((0.0, 0.0, 0.0), (0.02, 0.3, NOSE_HEIGHT), (0.12, 0.2, NOSE_LIFT))
    stroke(canvas, ridge, bright, 0.09 * unit, 0.5, 0.04 * unit)
    under = frame.place(wing * _SPAN, NOSE_HEIGHT + 0.03 + 0.09 * (1 - np.abs(_SPAN)), 0.22 * (1 - _SPAN * _SPAN))
    stroke(canvas, under, dark, 0.05 * unit, 0.75, 0.015 * unit)
    for hole in frame.place((-0.1, 0.1), NOSE_HEIGHT + 0.075, 0.16).tolist():
        dot = np.stack((hole[0] + 0.05 * unit * _COS, hole[1] + 0.028 * unit * _SIN), axis=1).astype(np.float32)
        fill(canvas, dot, scaled(_INK, light), 0.65)


def _mouth(canvas: FloatArray, frame: HeadFrame, person: Person, light: float) -> None:
    unit = frame.unit_px
    half = 0.40 if person.mouth == "smile" else 0.35
    bow = 1 - _SPAN * _SPAN
    # A smile lifts the corners by as much as the middle of the lips sinks.
    corner = 0.06 * (bow - 0.5) if person.mouth == "smile" else 0.012 * bow
    seam = 1.0 + corner
    gap = {"closed": 0.0, "smile": 0.05, "open": 0.17}[person.mouth] * bow
    along = np.float32(half) * _SPAN
    dip = 0.018 * np.exp(-_SPAN * _SPAN * 40.0)
    upper_out = frame.place(along, seam - gap * 0.45 - 0.075 * bow + dip, 0.03)
    lower_out = frame.place(along, seam + gap + 0.095 * bow, 0.03)
    lips = scaled(person.lips, light)
    fill(canvas, np.concatenate((upper_out, lower_out[::-1])), lips, 0.9)
    upper_in = frame.place(along * 0.92, seam - gap * 0.45 - 0.004, 0.03)
    lower_in = frame.place(along * 0.92, seam + gap + 0.004, 0.03)
    if person.mouth == "closed":
        stroke(canvas, upper_in, scaled(mix(person.lips, _INK, 0.6), light), 0.04 * unit, 0.9)
    else:
        fill(canvas, np.concatenate((upper_in, lower_in[::-1])), (52.0, 18.0, 20.0))
        teeth = frame.place(along * 0.86, seam - gap * 0.45 + 0.55 * gap, 0.03)
        fill(canvas, np.concatenate((upper_in, teeth[::-1])), scaled((238.0, 234.0, 224.0), min(1.0, light)), 0.95)
    chin_shadow = frame.place(0.22 * _SPAN, 1.17 + 0.03 * bow, 0.02)
    stroke(canvas, chin_shadow, scaled(person.skin, 0.6 * light), 0.06 * unit, 0.35, 0.03 * unit)


def paint_glasses(canvas: FloatArray, frame: HeadFrame, person: Person) -> None:
    """Paint frames, and dark lenses for sunglasses; they sit on top of a mask's upper edge."""
    if person.glasses == "none":
        return
    unit = frame.unit_px
    rim = scaled(mix(person.wear, (24.0, 22.0, 24.0), 0.7), 0.9)
    for arc in (-_EYE_ARC, _EYE_ARC):
        if not _faces_camera(frame, arc):
            continue
        squared = np.sign(_COS) * np.abs(_COS) ** 0.7, np.sign(_SIN) * np.abs(_SIN) ** 0.7
        lens = frame.place(np.float32(arc) + 0.33 * squared[0], np.float32(0.05) + 0.23 * squared[1], 0.12)
        if person.glasses == "sun":
            fill(canvas, lens, (22.0, 22.0, 26.0), 0.93)
        else:
            fill(canvas, lens, (235.0, 242.0, 250.0), 0.10)
        stroke(canvas, np.concatenate((lens, lens[:1])), rim, 0.05 * unit, 0.95)
        temple = np.linspace(0.80, 1.45 * frame.radius, 5, dtype=np.float32) * np.float32(math.copysign(1.0, arc))
        seen = np.abs(temple / frame.radius + frame.yaw_rad) < 1.5
        if int(seen.sum()) > 1:
            stroke(canvas, frame.place(temple[seen], np.zeros(int(seen.sum()), np.float32), 0.06), rim, 0.045 * unit)
    bridge = frame.place(np.array((-0.16, 0.0, 0.16), np.float32), np.array((0.02, -0.02, 0.02), np.float32), 0.16)
    stroke(canvas, bridge, rim, 0.05 * unit, 0.95)


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
