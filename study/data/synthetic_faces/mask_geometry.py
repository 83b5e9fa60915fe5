"""Say which part of the head a mask covers and how its surface is folded; pure."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from study.data.synthetic_faces.drawing import FloatArray, coverage
from study.data.synthetic_faces.head_geometry import HeadFrame, Surface
from study.data.synthetic_faces.mask_style import MaskLook
from study.data.synthetic_faces.vocabulary import MaskKind


@dataclass(frozen=True)
class Cut:
    """The outline of a mask in head coordinates.

    Attributes:
        top: height of the upper edge above the nose line.
        top_side: height of the upper edge at the ends.
        bottom: height of the lower edge below the chin's middle, from the chin.
        bottom_side: height of the lower edge at the ends.
        reach_rad: azimuth of the ends.
        forward: how far it stands out, in head units.
        roundness: 1 for a cup with an oval rim, 0 for straight edges.
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

    Attributes:
        alpha: coverage, 0-1.
        rim_px: distance to the edge of the cloth, positive inside.
        side: 0 on the nose line, 1 at the ends of the mask.
        drop: 0 at the upper edge, 1 at the lower one.
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
