"""Plots of values with intervals: entries, differences, effects, image sets; and of what blurs a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.report.svg import Canvas, Scale, cut, span, text_width, tick_text

ROW_PX = 21
MOST_ROWS = 40
_LEADER, _MAY_BE, _OTHER = "leader", "may be", "other"
_STYLES = {_LEADER: ("diamond", "f0", "l s0"), _MAY_BE: ("circle", "f1", "l s1"), _OTHER: ("circle", "hollow", "l sm")}


@dataclass(frozen=True)
class IntervalRow:
    """A value with its interval; ``kind`` is leader, may be or other; a ``heading`` stands above it."""

    label: str
    value: float
    low: float | None
    high: float | None
    kind: str = _OTHER
    more: str = ""
    heading: str = ""


def interval_plot(rows: Sequence[IntervalRow], label: str, *, reference: float | None = None) -> Canvas:
    """Draw values with intervals below each other, with a line at the reference value.

    Args:
        rows: the first ``MOST_ROWS`` are drawn.
        label: of the axis.
        reference: such as 0 for no difference.
    """
    rows = rows[:MOST_ROWS]
    width = 600.0
    left = min(max([*(text_width(row.label) for row in rows), 60]) + 16, 245.0)
    right = max([*(text_width(row.more) for row in rows), 0]) + 18
    headings = sum(bool(row.heading) for row in rows)
    bottom = 14 + ROW_PX * (len(rows) + headings)
    canvas = Canvas(width, bottom + 42)
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None]
    scale = Scale(*span([*ends, *([] if reference is None else [reference])]), left, width - right)
    canvas.x_axis(scale, bottom, 6, label)
    if reference is not None:
        canvas.line(scale(reference), 6, scale(reference), bottom, "ref")
    y = 6 + ROW_PX / 2
    for row in rows:
        if row.heading:
            canvas.text(4, y + 4, cut(row.heading, left + 200), "t b")
            y += ROW_PX
        _draw(canvas, row, scale, left, y)
        if row.more:
            canvas.text(width - 4, y + 4, row.more, "t m", "end")
        y += ROW_PX
    return canvas


def _draw(canvas: Canvas, row: IntervalRow, scale: Scale, left: float, y: float) -> None:
    shape, filled, line = _STYLES[row.kind]
    canvas.text(left - 10, y + 4, cut(row.label, left - 12), "t", "end")
    if row.low is not None and row.high is not None:
        canvas.line(scale(row.low), y, scale(row.high), y, line)
        for value in (row.low, row.high):
            if scale.low < value < scale.high:
                canvas.line(scale(value), y - 4, scale(value), y + 4, line)
    said = f"{row.label}: {row.value:.5g}"
    if row.low is not None and row.high is not None:
        said += f" ({row.low:.5g} to {row.high:.5g})"
    canvas.mark(scale(row.value), y, shape, filled, said)


def noise_plot(lead: float, margins: Sequence[tuple[str, float | None]], label: str) -> Canvas:
    """Draw a lead above bars of what blurs it; a margin of None is unknown.

    Args:
        lead: the difference, at least 0.
        margins: names and half widths of what blurs it.
        label: of the axis.
    """
    canvas = Canvas(420, 62 + 30 * (len(margins) + 1))
    largest = max([lead, *(margin for _, margin in margins if margin is not None and math.isfinite(margin))])
    scale = Scale(0, 1.15 * largest or 1.0, 118, 404)
    bottom = 12 + 30 * (len(margins) + 1)
    canvas.x_axis(scale, bottom, 6, label)
    canvas.text(108, 25, "lead", "t b", "end")
    canvas.rect(scale(0), 12, scale(lead) - scale(0), 18, "f0", f"lead: {lead:.3g}")
    canvas.text(scale(lead) + 5, 26, f"{lead:.2g}", "t")
    for at, (name, margin) in enumerate(margins):
        y = 12 + 30 * (at + 1)
        canvas.text(108, y + 13, name, "t", "end")
        if margin is None or not math.isfinite(margin) or margin == 0:
            canvas.text(scale(0) + 5, y + 13, margin_words(margin), "t m halo")
            continue
        canvas.rect(scale(0), y, scale(margin) - scale(0), 18, "noise", f"{name}: +-{margin:.3g}")
        canvas.text(scale(margin) + 5, y + 13, margin_words(margin), "t")
    canvas.line(scale(lead), 8, scale(lead), bottom, "ref")
    return canvas


def margin_words(margin: float | None) -> str:
    """Write what blurs a difference; an estimate of 0 does not mean that there is nothing."""
    if margin is None or not math.isfinite(margin):
        return "unknown"
    return f"±{margin:.2g}" if margin else "none seen"


def bar_plot(bars: Sequence[tuple[str, float]], label: str) -> Canvas:
    """Draw named values of at least 0 as horizontal bars."""
    bars = bars[:MOST_ROWS]
    left = min(max(text_width(name) for name, _ in bars) + 16, 245.0)
    bottom = 10 + ROW_PX * len(bars)
    canvas = Canvas(480, bottom + 42)
    scale = Scale(0, max(value for _, value in bars) * 1.12 or 1.0, left, 470)
    canvas.x_axis(scale, bottom, 6, label)
    ticks = [value for _, value in bars]
    for at, (name, value) in enumerate(bars):
        y = 10 + ROW_PX * at
        canvas.text(left - 8, y + 13, cut(name, left - 12), "t", "end")
        canvas.rect(scale(0), y + 2, scale(value) - scale(0), ROW_PX - 6, "f0", f"{name}: {value:.3g}")
        canvas.text(scale(value) + 4, y + 13, tick_text(value, [*ticks, 0.01, 0.02]), "t m")
    return canvas
