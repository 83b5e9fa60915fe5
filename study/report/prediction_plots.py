"""Plots of predictions: ROC curves and reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.figures.curves import Calibration, Curve, thin
from study.report.svg import SERIES, Canvas, Scale

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 416, 12, 372


def roc_plot(curves: Sequence[tuple[str, Curve]]) -> Canvas:
    """Draw ROC curves, the first ``SERIES`` of them, and the diagonal of chance."""
    curves = curves[:SERIES]
    canvas, x, y = _unit_square("false positive rate", "true positive rate", len(curves))
    canvas.path([(x(0), y(0)), (x(1), y(1))], "l sm", dash="3 4")
    for at, (name, curve) in reversed(list(enumerate(curves))):
        kept = thin(curve.x, curve.y, 150, 1e-3)
        canvas.series([(x(a), y(b)) for a, b in zip(curve.x[kept], curve.y[kept], strict=True)], at, name)
    canvas.legend(_LEFT, 428, [(at, f"{name}: {curve.area:.4f}") for at, (name, curve) in enumerate(curves)], 370)
    return canvas


def reliability_plot(entries: Sequence[tuple[str, Calibration, float]]) -> Canvas:
    """Draw how often scores come true over the scores, and below it how many images each bin of the first has.

    Args:
        entries: names, the bins to draw and the expected calibration error.
    """
    entries = entries[:SERIES]
    canvas, x, y = _unit_square("score", "share that is true", len(entries))
    canvas.path([(x(0), y(0)), (x(1), y(1))], "l sm", dash="3 4")
    counts = entries[0][1].counts
    width = (_RIGHT - _LEFT) / len(counts)
    for at, count in enumerate(counts):
        height = 60 * count / max(1, counts.max())
        said = f"{count} images"
        canvas.rect(_LEFT + at * width + 1, _BOTTOM - height, width - 2, height, "bars", said)
    for at, (name, calibration, _) in reversed(list(enumerate(entries))):
        filled = np.flatnonzero(calibration.counts)
        points = [(x(calibration.score[k]), y(calibration.share[k])) for k in filled]
        canvas.series(points, at, name)
    names = [(at, f"{name}: ECE {error:.4f}") for at, (name, _, error) in enumerate(entries)]
    canvas.legend(_LEFT, 428, names, 370)
    return canvas


def _unit_square(x_label: str, y_label: str, entries: int) -> tuple[Canvas, Scale, Scale]:
    canvas = Canvas(440, 434 + 18 * entries)
    x, y = Scale(0, 1, _LEFT, _RIGHT), Scale(0, 1, _BOTTOM, _TOP)
    canvas.y_axis(y, _LEFT, _RIGHT, y_label)
    canvas.x_axis(x, _BOTTOM, _TOP, x_label)
    return canvas, x, y
