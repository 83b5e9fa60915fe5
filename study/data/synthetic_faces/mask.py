"""Paint a mask onto a face whose landmarks are known.

Every pixel gets an azimuth and a height on a cylinder head fitted to the landmarks; the mask is an analytic shape
in these coordinates, so it turns, leans and narrows with the face.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from study.data.synthetic_faces.drawing import FloatArray, blend, blurred, coverage, scaled, shade, stream, stroke
from study.data.synthetic_faces.head_geometry import FaceLandmarks, HeadFrame, Surface
from study.data.synthetic_faces.vocabulary import MaskKind, MaskLook, MaskPattern


@dataclass(frozen=True)
class Cut:
    """The outline of a mask in head coordinates: heights of its edges on the nose line and at its ends.

    ``bottom`` counts from the chin; ``reach_rad`` is the azimuth of the ends; it stands out by ``forward`` head units;
    ``roundness`` is 1 for a cup with an oval rim, 0 for straight edges.
    """

    top: float
    top_side: float
    bottom: float
    bottom_side: float
    reach_rad: float
    forward: float
    roundness: float


_CUTS: Final[dict[MaskKind, Cut]] = {
    "surgical": Cut(0.26, 0.50, 0.06, 1.17, 1.13, 0.08, 0.0),
    "n95": Cut(0.20, 0.78, 0.08, 1.02, 1.00, 0.20, 1.0),
    "kn95": Cut(0.20, 0.62, 0.08, 1.08, 1.08, 0.17, 0.45),
    "cloth": Cut(0.26, 0.52, 0.08, 1.18, 1.20, 0.08, 0.25),
}


def cut_of(look: MaskLook, chin: float) -> Cut:
    """Return the outline as it is worn; `bottom` becomes a height instead of a drop below the chin."""
    cut = _CUTS[look.kind]
    cut = replace(
        cut,
        top=cut.top + look.drop,
        top_side=cut.top_side + look.drop,
        bottom=chin + cut.bottom,
        reach_rad=cut.reach_rad * look.reach,
    )
    if look.mode == "nose":
        return replace(cut, top=0.80 + look.drop, top_side=max(cut.top_side, 0.72), forward=0.5 * cut.forward)
    if look.mode == "chin":
        # Pulled down it folds up: a narrow band under the lower lip that hangs below the chin.
        return replace(
            cut,
            top=1.26 + look.drop,
            top_side=1.02,
            bottom=chin + 0.14,
            bottom_side=1.38,
            reach_rad=1.12 * look.reach,
            forward=0.06,
            roundness=0.2,
        )
    return cut


@dataclass(frozen=True)
class Fit:
    """A mask on a block of pixels, each field [H, W].

    ``rim_px`` is the distance to the edge of the cloth, positive inside; ``side`` is 0 on the nose line, 1 at the ends
    of the mask; ``drop`` 0 at the upper edge, 1 at the lower one.
    """

    alpha: FloatArray
    rim_px: FloatArray
    side: FloatArray
    drop: FloatArray


def fit(frame: HeadFrame, surface: Surface, cut: Cut) -> Fit:
    """Lay the outline over head coordinates."""
    side = np.clip(np.abs(surface.azimuth) * np.float32(1.0 / cut.reach_rad), 0.0, 1.0)
    squared = side * side
    bend = squared * (np.float32(1.6) - np.float32(0.6) * squared)
    if cut.roundness > 0:
        oval = np.float32(1.0) - np.sqrt(np.maximum(np.float32(1.0) - squared, np.float32(0.0)))
        bend = bend + np.float32(cut.roundness) * (oval - bend)
    upper = np.float32(cut.top) + np.float32(cut.top_side - cut.top) * bend
    lower = np.float32(cut.bottom) + np.float32(cut.bottom_side - cut.bottom) * squared
    end = (np.float32(cut.reach_rad) - np.abs(surface.azimuth)) * np.float32(frame.radius)
    inside = np.minimum(np.minimum(surface.height - upper, lower - surface.height), end)
    rim_px = np.minimum(inside * np.float32(frame.unit_px), surface.edge_px)
    drop = (surface.height - upper) / np.maximum(lower - upper, np.float32(0.05))
    return Fit(coverage(rim_px), rim_px, side, np.clip(drop, 0.0, 1.0))


def folds(look: MaskLook, frame: HeadFrame, surface: Surface, worn: Fit) -> FloatArray:
    """Return the brightness of the bare cloth from its folds, [H, W] around 1."""
    light = np.float32(1.04) - np.float32(0.22) * worn.side * worn.side
    tone = _FOLDS[look.kind](surface, worn)
    if look.mode == "chin":
        tone = tone + np.float32(0.10) * np.cos(worn.drop * np.float32(15.0))
    # The hem catches a shadow; on a small face it is less than a pixel wide.
    hem_px = max(1.0, 0.045 * frame.unit_px)
    hem = np.float32(1.0) - np.float32(0.16) * np.clip(np.float32(1.6) - worn.rim_px / np.float32(hem_px), 0.0, 1.0)
    return np.asarray((light + tone) * hem, np.float32)


def _pleats(surface: Surface, worn: Fit) -> FloatArray:
    """Three pleats across; they fade towards the upper and lower edge."""
    wave = np.cos(worn.drop * np.float32(6 * np.pi))
    return np.asarray(np.float32(-0.22) * np.clip(wave - np.float32(0.35), 0.0, 1.0) * (worn.drop > 0.12), np.float32)


def _cup(surface: Surface, worn: Fit) -> FloatArray:
    """A moulded cup with a ridge around it, lighter at the top."""
    centre = worn.drop - np.float32(0.5)
    rim = worn.side * worn.side + centre * centre * np.float32(3.4)
    ridge = np.exp(np.square(rim - np.float32(0.55)) * np.float32(-60.0))
    return np.asarray(np.float32(0.10) - np.float32(0.30) * rim * centre - np.float32(0.10) * ridge, np.float32)


def _seam(surface: Surface, worn: Fit) -> FloatArray:
    """A vertical seam on the nose line; the two halves catch the light differently."""
    line = np.exp(np.square(surface.azimuth) * np.float32(-900.0))
    slope = np.tanh(surface.azimuth * np.float32(9.0))
    return np.asarray(np.float32(-0.20) * line + np.float32(0.05) * slope, np.float32)


def _drape(surface: Surface, worn: Fit) -> FloatArray:
    """Soft wrinkles that run from the ends of the cloth to the middle."""
    wave = np.sin(worn.drop * np.float32(13.0) + worn.side * np.float32(5.0))
    return np.asarray(np.float32(0.09) * wave * worn.side, np.float32)


_FOLDS = {"surgical": _pleats, "n95": _cup, "kn95": _seam, "cloth": _drape}


Print = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]


def print_coverage(look: MaskLook, across: FloatArray, down: FloatArray) -> FloatArray | None:
    """Return how much print colour lies on each point of the cloth, [H, W] in 0-1; None for plain cloth.

    ``across`` and ``down`` are [H, W], head units around the head and downwards.
    """
    if look.pattern == "solid":
        return None
    rng = stream(look.seed)
    cosine, sine = np.float32(np.cos(look.turn_rad) * look.pitch), np.float32(np.sin(look.turn_rad) * look.pitch)
    shift_x, shift_y = (np.float32(value) for value in rng.random(2).tolist())
    x = cosine * across - sine * down + shift_x
    y = sine * across + cosine * down + shift_y
    return _PRINTS[look.pattern](x, y, rng)


def _step(field: FloatArray, sharpness: float) -> FloatArray:
    return np.asarray(np.clip(field * np.float32(sharpness) + np.float32(0.5), 0.0, 1.0), np.float32)


def _wave(phase: FloatArray) -> FloatArray:
    return np.asarray(np.cos(phase * np.float32(2 * np.pi)), np.float32)


def _stripes(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    return _step(_wave(y), 2.0)


def _dots(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    return _step(_wave(x) + _wave(y) - np.float32(0.75), 1.8)


def _blotch(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    a, b, c = (np.float32(phase) for phase in rng.random(3).tolist())
    field = _wave(x * np.float32(0.43) + a + np.float32(0.25) * _wave(y * np.float32(0.31)))
    field = field + _wave(y * np.float32(0.52) + b + np.float32(0.3) * _wave(x * np.float32(0.37) + c))
    return _step(field + np.float32(0.1), 2.2)


def _plaid(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    # Threads of both directions add up where they cross, which is what tells plaid from a grid.
    broad = np.float32(0.42) * (_step(_wave(x * np.float32(0.7)), 3.0) + _step(_wave(y * np.float32(0.7)), 3.0))
    narrow = _step(_wave(x * np.float32(0.7) + np.float32(0.5)) - np.float32(0.85), 5.0)
    return np.asarray(np.minimum(broad + np.float32(0.3) * narrow, np.float32(1.0)), np.float32)


def _floral(x: FloatArray, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Five petals around a bare middle, every other row moved by half a flower."""
    x, y = x * np.float32(0.8), y * np.float32(0.8)
    row = np.floor(y)
    cell_x = np.mod(x + np.float32(0.5) * np.mod(row, np.float32(2.0)), np.float32(1.0)) - np.float32(0.5)
    cell_y = y - row - np.float32(0.5)
    radius = np.sqrt(cell_x * cell_x + cell_y * cell_y)
    petals = np.float32(0.29) + np.float32(0.13) * np.cos(np.arctan2(cell_y, cell_x) * np.float32(5.0))
    return np.asarray(_step(petals - radius, 9.0) * _step(radius - np.float32(0.09), 9.0), np.float32)


_PRINTS: Final[dict[MaskPattern, Print]] = {
    "stripes": _stripes,
    "dots": _dots,
    "blotch": _blotch,
    "plaid": _plaid,
    "floral": _floral,
}


# A little before the ear: on narrow heads the loops would end in the air.
_EAR_AZIMUTH_RAD = 1.38
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)


def paint_mask(canvas: FloatArray, landmarks: FaceLandmarks, look: MaskLook) -> None:
    """Paint a crisp mask in place; the landmarks are in pixels of the canvas, float32 [H, W, 3], RGB 0-255."""
    frame = HeadFrame.from_landmarks(landmarks)
    # The mask with its shadow, and the face's brightest parts above it.
    box = frame.box(canvas.shape, -1.45, -0.25, 1.45, frame.chin + 0.35)
    if box.right <= box.left or box.bottom <= box.top:
        return
    cut = cut_of(look, frame.chin)
    view = box.cut(canvas)
    exposure, relief = _light(view, frame.unit_px)
    surface = frame.surface(box, swell=1.03, forward=cut.forward, chin_drop=max(0.0, cut.bottom - frame.chin) + 0.03)
    worn = fit(frame, surface, cut)
    shadow = blurred(worn.alpha, 0.07 * frame.unit_px)
    shade(view, np.float32(1.0) - np.float32(0.30) * shadow)
    _draw_loops(canvas, frame, cut, look, exposure)
    blend(
        view,
        worn.alpha,
        _cloth(look, frame, surface.azimuth, surface.height)
        * _lit(folds(look, frame, surface, worn), relief, exposure),
    )


def _cloth(look: MaskLook, frame: HeadFrame, azimuth: FloatArray, height: FloatArray) -> FloatArray:
    """Return the unlit cloth with its print, [H, W, 3]."""
    base = np.array(look.colour, np.float32)
    printed = print_coverage(look, azimuth * np.float32(frame.radius), height)
    if printed is None:
        return np.broadcast_to(base, (*height.shape, 3))
    return np.asarray(base + printed[..., None] * (np.array(look.print_colour, np.float32) - base), np.float32)


def _lit(fold: FloatArray, relief: FloatArray, exposure: float) -> FloatArray:
    return np.asarray((fold * relief * np.float32(exposure))[..., None], np.float32)


def _light(view: FloatArray, unit_px: float) -> tuple[float, FloatArray]:
    """Read the light from the picture below the mask.

    Returns:
        The exposure (1 for a well lit picture) and the light's unevenness [H, W] around 1.
    """
    luma = np.asarray(view @ _LUMA, np.float32)
    # The brightest parts tell the exposure whatever the skin; the mean would make masks on dark skin dark.
    bright = float(np.partition(luma.ravel(), int(luma.size * 0.96))[int(luma.size * 0.96)])
    exposure = min(1.0, max(0.12, 0.35 + 0.65 * bright / 200.0) * min(1.0, bright / 60.0))
    soft = blurred(luma, 0.30 * unit_px) + np.float32(4.0)
    middle = float(np.mean(soft))
    return exposure, np.clip(np.sqrt(soft * np.float32(1.0 / middle)), 0.72, 1.15)


def _draw_loops(canvas: FloatArray, frame: HeadFrame, cut: Cut, look: MaskLook, exposure: float) -> None:
    """Draw the ear loops as far as they are on the visible side of the head."""
    colour = scaled((225.0, 225.0, 222.0) if sum(look.colour) > 260 else (70.0, 70.0, 74.0), exposure)
    width_px = 0.034 * frame.unit_px
    end = 0.97 * cut.reach_rad * frame.radius
    ear = _EAR_AZIMUTH_RAD * frame.radius
    for side in (-1.0, 1.0):
        for low, high in ((cut.top_side + 0.05, 0.02), (cut.bottom_side - 0.05, 0.52)):
            arc = np.linspace(end, ear, 7, dtype=np.float32) * np.float32(side)
            height = np.linspace(low, high, 7, dtype=np.float32)
            seen = np.abs(arc / frame.radius + frame.yaw_rad) < 0.5 * math.pi
            if int(seen.sum()) > 1:
                stroke(canvas, frame.place(arc[seen], height[seen]), colour, width_px, 0.9)
