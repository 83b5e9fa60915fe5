"""Plots of trials: learning curves, parallel coordinates, the front of two objectives, and when each ran."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.config.hyperparameters import Scalar
from study.figures.curves import thin
from study.records import TrialRecord, TrialState
from study.report.elements import setting
from study.report.svg import SERIES, Canvas, Scale, cut, span, tick_text

MOST_CURVES = 300
_MOST_TITLES = 300
_MOST_POINTS = 40
_FEW, _FAR = 20, 10
_STATES = {
    TrialState.COMPLETE: "f2", TrialState.PRUNED: "f3 faded", TrialState.FAILED: "f1", TrialState.RUNNING: "f0",
    TrialState.WAITING: "sm",
}  # fmt: skip


def curves_plot(trials: Sequence[TrialRecord], metric: str, names: Mapping[int, str]) -> Canvas:
    """Draw a metric over the epochs of each trial, the named ones in colour, the pruned ones faded.

    Args:
        trials: best first; the first ``MOST_CURVES`` with epochs are drawn.
        metric: what to draw.
        names: of the trials in colour, by number, at most ``SERIES``.
    """
    curves = {trial.trial: points for trial in trials if (points := _epochs(trial, metric))}
    drawn = [trial for trial in trials if trial.trial in curves][:MOST_CURVES]
    legend = [(at, name) for at, name in enumerate(names.values())][:SERIES]
    canvas = Canvas(600, 390 + 18 * math.ceil(len(legend) / 2))
    values = [value for trial in drawn for _, value in curves[trial.trial]]
    last = max((epoch for trial in drawn for epoch, _ in curves[trial.trial]), default=1)
    x, y = Scale(1, max(last, 2), 62, 584), Scale(*_visible(values), 330, 12)
    ticks = sorted({max(1, round(tick)) for tick in x.ticks(10)})
    canvas.y_axis(y, 62, 584, metric)
    canvas.x_axis(x, 330, 12, "epoch", ticks)
    plain = [trial for trial in drawn if trial.trial not in names]
    for trial in reversed(plain):
        points = [(x(epoch), y(value)) for epoch, value in curves[trial.trial]]
        pruned = trial.state is TrialState.PRUNED
        said = f"trial {trial.trial}, {trial.state.value}" if len(plain) <= _MOST_TITLES else ""
        canvas.path(points, "l sm faded" if pruned else "l sm", said, "3 4" if pruned else "")
        if pruned:
            canvas.mark(*points[-1], "cross", "sm", size=3)
    for at, number_ in reversed(list(enumerate(names))):
        if number_ in curves:
            canvas.series([(x(epoch), y(value)) for epoch, value in curves[number_]], at, names[number_])
    canvas.legend(62, 384, legend, 262)
    return canvas


def _epochs(trial: TrialRecord, metric: str) -> list[tuple[float, float]]:
    points = [(float(epoch.epoch), epoch.values[metric]) for epoch in trial.history
              if math.isfinite(epoch.values.get(metric, math.nan))]  # fmt: skip
    if len(points) > _MOST_POINTS:
        x, y = np.array(points, dtype=np.float64).T
        points = [points[at] for at in thin(x, y, _MOST_POINTS, 2e-3)]
    return points


def _visible(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis; a few values far off do not flatten the others."""
    if len(values) < _FEW or min(values) < 0:
        return span(values)
    low, first, middle, third, high = np.percentile(values, [0, 5, 50, 95, 100])
    reach = 3 * (third - first)
    if low > 0 and high > _FAR * middle:  # a loss that went astray
        return span([low, 3 * middle])
    return span([max(low, first - reach), min(high, third + reach)])


@dataclass(frozen=True)
class ParallelLine:
    """A trial or configuration: its searched values, its value of the metric, and the series that it is drawn as."""

    name: str
    params: Mapping[str, Scalar]
    value: float
    series: int | None
    is_faded: bool


def parallel_plot(lines: Sequence[ParallelLine], params: Sequence[str], metric: str) -> Canvas:
    """Draw each line across one axis for each parameter and one for the metric, the best ones on top.

    Args:
        lines: best first; a parameter that one lacks is left out of its line.
        params: searched parameters.
        metric: the last axis.
    """
    names = [*params, metric]
    width = max(600.0, min(1200.0, 145.0 * len(names)))
    canvas = Canvas(width, 372)
    axes = {name: _axis([line.value if name == metric else line.params.get(name) for line in lines]) for name in names}
    places = {name: 92 + at * (width - 162) / max(1, len(names) - 1) for at, name in enumerate(names)}
    for line in reversed(lines):
        values = [(name, line.value if name == metric else line.params.get(name)) for name in names]
        points = [(places[name], axes[name].place(value)) for name, value in values if value is not None]
        if line.series is None:
            said = f"{line.name}: {line.value:.5g}" if len(lines) <= _MOST_TITLES else ""
            canvas.path(points, "l sm faded" if line.is_faded else "l sm", said, "3 4" if line.is_faded else "")
        else:
            canvas.series(points, line.series, f"{line.name}: {line.value:.5g}")
    for at, name in enumerate(names):
        x = places[name]
        canvas.line(x, 40, x, 340, "a")
        canvas.text(x, 22 if at % 2 == 0 or len(names) < 7 else 362, cut(name, 128), "t b", "middle")
        for place, text in axes[name].ticks:
            canvas.text(x - 8 if at == 0 else x + 8, place + 4, cut(text, 80), "t halo", "end" if at == 0 else "start")
    return canvas


@dataclass(frozen=True)
class _Axis:
    scale: Scale | None
    levels: tuple[str, ...]

    def place(self, value: Scalar) -> float:
        if self.scale is not None:
            return self.scale(float(value))
        at = self.levels.index(setting(value))
        return 340 - 300 * (at + 0.5) / len(self.levels)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        if self.scale is None:
            return [(340 - 300 * (at + 0.5) / len(self.levels), level) for at, level in enumerate(self.levels)]
        ticks = self.scale.ticks(5)
        return [(self.scale(tick), tick_text(tick, ticks)) for tick in ticks]


def _axis(values: Sequence[Scalar | None]) -> _Axis:
    known = [value for value in values if value is not None]
    numeric = bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if not numeric or len(set(known)) <= 5:
        ordered = sorted(set(known), key=lambda value: (isinstance(value, str), value)) if numeric else sorted(
            set(known), key=str
        )  # fmt: skip
        return _Axis(None, tuple(dict.fromkeys(setting(value) for value in ordered)))
    numbers = [float(value) for value in known if math.isfinite(float(value))]
    is_log = min(numbers) > 0 and max(numbers) / min(numbers) > 50
    low, high = (min(numbers), max(numbers)) if is_log else span(numbers, margin=0.03)
    return _Axis(Scale(low, high, 340, 40, is_log), ())


@dataclass(frozen=True)
class FrontPoint:
    """An entry in the plane of two objectives; ``kind`` is front, may be or other."""

    name: str
    x: float
    y: float
    kind: str


def front_plot(points: Sequence[FrontPoint], x_label: str, y_label: str) -> Canvas:
    """Draw entries by two objectives; those of the front are diamonds joined by a line."""
    canvas = Canvas(560, 400)
    is_log = min(point.x for point in points) > 0 and max(point.x for point in points) > 50 * min(
        point.x for point in points
    )
    x_ends = (min(point.x for point in points), max(point.x for point in points)) if is_log else span(
        [point.x for point in points]
    )  # fmt: skip
    x, y = Scale(*x_ends, 70, 540, is_log), Scale(*span([point.y for point in points]), 350, 12)
    canvas.y_axis(y, 70, 540, y_label)
    canvas.x_axis(x, 350, 12, x_label)
    front = sorted((point.x, point.y) for point in points if point.kind == "front")
    canvas.path([(x(a), y(b)) for a, b in front], "l s0", dash="4 3")
    for point in sorted(points, key=lambda point: point.kind == "front"):
        shape, style = {"front": ("diamond", "f0"), "may be": ("square", "f1")}.get(point.kind, ("circle", "hollow"))
        canvas.mark(x(point.x), y(point.y), shape, style, f"{point.name}: {point.x:.5g}, {point.y:.5g}", 6)
    return canvas


def timeline_plot(trials: Sequence[TrialRecord], now_s: float) -> Canvas:
    """Draw when each trial ran, a row each, the first on top; its end is marked by how it ended."""
    began = [trial for trial in trials if trial.started_at_s is not None]
    start = min(trial.started_at_s or 0.0 for trial in began)
    end = max([*(trial.finished_at_s or now_s for trial in began), start + 1])
    row = min(14.0, max(0.5, 480 / len(began)))
    bottom = 12 + row * len(began)
    canvas = Canvas(760, bottom + 42)
    unit, seconds = ("h", 3600.0) if end - start > 7200 else ("min", 60.0) if end - start > 120 else ("s", 1.0)
    x = Scale(0, (end - start) / seconds, 62, 740)
    canvas.x_axis(x, bottom, 8, f"{unit} since the first trial began")
    for at, trial in enumerate(began):
        left = x(((trial.started_at_s or start) - start) / seconds)
        right = x(((trial.finished_at_s or now_s) - start) / seconds)
        said = f"trial {trial.trial}, {trial.state.value}" if len(began) <= _MOST_TITLES else ""
        y, height = 10 + row * at, max(row - min(3.0, row / 4), 0.4)
        canvas.rect(left, y, max(right - left, 0.8), height, _STATES[trial.state], said)
        if row >= 6:
            if trial.state is TrialState.PRUNED:
                canvas.mark(right + 5, y + height / 2, "cross", "s3", size=3.4)
            elif trial.state is TrialState.FAILED:
                canvas.mark(right + 6, y + height / 2, "triangle", "f1", size=3.8)
        if row >= 12 or at % math.ceil(14 / row) == 0:
            canvas.text(56, y + height / 2 + 4, str(trial.trial), "t m", "end")
    canvas.text(13, bottom / 2, "trial", "t", "middle", turned=True)
    return canvas
