"""Learning curves: of one trial, and the page that compares those of a study's trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from study.config.search_config import Objective
from study.figures.curves import MAX_POINTS, thin
from study.figures.html import document
from study.figures.plotly_panel import BLUE, GREEN, GREY, PURPLE, VERMILLION, Json, Panel, axis, label, layout, line
from study.metric_catalog import METRICS
from study.records import TrialRecord, TrialState
from study.utils.text import html_text

# name: (y axis, colour, dash); training is dashed, validation solid
_SERIES = {
    "train_loss": ("y", VERMILLION, "dash"),
    "val_loss": ("y", VERMILLION, "solid"),
    "val_auc": ("y2", BLUE, "solid"),
    "val_accuracy": ("y2", GREEN, "solid"),
    "train_accuracy": ("y2", GREEN, "dash"),
    "learning_rate": ("y3", PURPLE, "solid"),
}


def learning_curves(record: TrialRecord) -> Panel | None:
    """Draw the history of a trial; None where it has none."""
    if not record.history:
        return None
    data = [trace for name in _SERIES if (trace := _learning_trace(record, name)) is not None]
    note = "Dashed lines are training, solid ones validation."
    if record.epoch is not None:
        note += f" The vertical line is epoch {record.epoch}, whose weights were kept."
    title = f"Learning curves: loss and scores over {len(record.history)} epochs"
    return Panel("learning", title, note, data, _layout(record), wide=True)


def _learning_trace(record: TrialRecord, name: str) -> Json | None:
    reported = [(metrics.epoch, metrics.values[name]) for metrics in record.history if name in metrics.values]
    axis_name, colour, dash = _SERIES[name]
    epochs, values = np.array(reported, dtype=np.float64).reshape(-1, 2).T
    return _curve(epochs, values, {
        "name": name,
        "yaxis": axis_name,
        "line": {"color": colour, "dash": dash, "width": 1.5 if axis_name == "y3" else 2},
        "marker": {"size": 4},
        "hovertemplate": "%{y:.4g}",
    })  # fmt: skip


def _curve(epochs: NDArray[np.float64], values: NDArray[np.float64], style: Json) -> Json | None:
    """Return a line of at most `MAX_POINTS` points that looks like the finite values; None where there are none."""
    known = np.isfinite(values)
    x, y = epochs[known], values[known]
    if not len(x):
        return None
    kept = thin(x, y) if len(x) > MAX_POINTS else np.arange(len(x))
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(kept) <= 30 else "lines",
        "x": [int(epoch) for epoch in x[kept]],
        "y": [float(f"{value:.6g}") for value in y[kept]],
        **style,
    }


def _layout(record: TrialRecord) -> Json:
    names = {name for metrics in record.history for name in metrics.values}
    highest = max((metrics.values.get("learning_rate", 0.0) for metrics in record.history), default=0.0)
    small = {"showgrid": False, "nticks": 3, "exponentformat": "power", "tickformat": ".1~e"}
    if highest > 0:  # a rate that never changes would sit on an axis from -1 to 1
        small |= {"range": [0, 1.2 * highest], "tickmode": "array", "tickvals": [0, highest]}
    body = layout(
        520,
        hovermode="x unified",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        # whole epochs on the ticks, however few there are
        xaxis=axis("epoch", anchor="y3", tickformat="d", **({"dtick": 1} if len(record.history) <= 12 else {})),
        yaxis=axis(f"loss [{METRICS['val_loss'].unit}]", domain=[0.6, 1]),
        yaxis2=axis("score", domain=[0.2, 0.54]),
        yaxis3=axis("learning<br>rate", domain=[0, 0.13], visible="learning_rate" in names, **small),
    )
    body["margin"] = {**body["margin"], "t": 40}
    if record.epoch is not None:
        ends = {"xref": "x", "x0": record.epoch, "x1": record.epoch, "yref": "paper", "y0": 0, "y1": 1}
        body["shapes"] = [{"type": "line", **ends, "line": {"color": GREY, "width": 1.5, "dash": "dot"}}]
    return body


MAX_TRIALS = 300
_NAMED = 10
_MAX_PARAMS = 8
_LOSSES = ("val_loss", "train_loss")


@dataclass(frozen=True)
class TrialCurves:
    """The drawn part of a trial; ``epochs`` and each of ``curves`` are [E], missing values NaN."""

    trial: int
    state: TrialState
    value: float | None
    about: str
    epochs: NDArray[np.float32]
    curves: dict[str, NDArray[np.float32]]


def drawn_metrics(objective: Objective) -> tuple[str, ...]:
    """Return the metrics that have a figure, the objective's first."""
    return tuple(dict.fromkeys((objective.metric, *_LOSSES)))


def curves_of(record: TrialRecord, objective: Objective) -> TrialCurves:
    """Return the part of a trial's record that is drawn."""
    epochs = np.array([metrics.epoch for metrics in record.history], dtype=np.float32)
    curves = {
        name: np.array([metrics.values.get(name, np.nan) for metrics in record.history], dtype=np.float32)
        for name in drawn_metrics(objective)
    }
    return TrialCurves(record.trial, record.state, record.value, _about(record), epochs, curves)


def study_page(study: str, objective: Objective, trials: Sequence[TrialCurves]) -> str:
    """Return a page of learning curves that needs no other file and no network.

    Args:
        study: its name.
        objective: decides which trials are best and drawn in colour.
        trials: in any order; the best ``MAX_TRIALS`` are drawn.
    """
    ranked = sorted(trials, key=lambda trial: _sort_key(trial, objective))
    drawn = [trial for trial in ranked if len(trial.epochs)][:MAX_TRIALS]
    title = f"{html_text(study)}: learning curves"
    count = f"{len(drawn)} trials" if len(drawn) == len(trials) else f"{len(drawn)} of {len(trials)} trials"
    best = {"max": "highest", "min": "lowest"}[objective.mode]
    note = f"{count}. In colour those with the {best} {escape(objective.metric)}; a click in the legend hides a line."
    header = f'<header><h1>{title}</h1><p class="note">{note}</p></header>'
    panels = [panel for name in drawn_metrics(objective) if (panel := _panel(name, drawn)) is not None]
    return document(title, header, panels)


def _panel(metric: str, drawn: Sequence[TrialCurves]) -> Panel | None:
    # The best come last, so that they lie on top.
    data = [trace for at in reversed(range(len(drawn))) if (trace := _trace(drawn[at], metric, at)) is not None]
    if not data:
        return None
    longest = max(float(trial.epochs.max()) for trial in drawn)
    unit = f" [{METRICS[metric].unit}]" if metric in METRICS and METRICS[metric].unit not in ("", "1") else ""
    text = METRICS[metric].text if metric in METRICS else metric
    body = layout(
        440,
        legend={"traceorder": "reversed", "font": {"size": 11}},
        xaxis=axis("epoch", tickformat="d", **({"dtick": 1} if longest <= 12 else {})),
        yaxis=axis(f"{label(metric)}{unit}"),
    )
    return Panel(f"all-{metric}", metric, text, data, body, wide=True)


def _trace(trial: TrialCurves, metric: str, at: int) -> Json | None:
    """Return the line of the ``at``-th best trial."""
    named = at < _NAMED
    return _curve(trial.epochs.astype(np.float64), trial.curves[metric].astype(np.float64), {
        "name": f"trial {trial.trial}",
        "showlegend": named,
        "line": line(at) if named else {"color": GREY, "width": 1},
        "opacity": 1 if named else 0.45,
        "marker": {"size": 4 if named else 3},
        "text": trial.about,
        "hovertemplate": "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
    })  # fmt: skip


def _sort_key(trial: TrialCurves, objective: Objective) -> tuple[bool, float, int]:
    """Sort by the objective, the best first; trials without a value come last."""
    if trial.value is None or not np.isfinite(trial.value):
        return (True, 0.0, trial.trial)
    return (False, -trial.value if objective.mode == "max" else trial.value, trial.trial)


def _about(record: TrialRecord) -> str:
    """Describe a trial in HTML, for plotly's tooltip."""
    chosen = [
        f"{label(name)}: {label(f'{value:.4g}' if isinstance(value, float) else str(value))}"
        for name, value in record.params.items()
    ]
    more = [f"… and {len(chosen) - _MAX_PARAMS} more"] if len(chosen) > _MAX_PARAMS else []
    return "<br>".join([f"<b>trial {record.trial}</b>, {record.state.value}", *chosen[:_MAX_PARAMS], *more])
