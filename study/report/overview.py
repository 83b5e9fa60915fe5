"""Draw how the trials of a study learned: one line each, over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from study.records import METRICS, TrialRecord, TrialState
from study.report.curves import MAX_POINTS, thin
from study.report.document import document
from study.report.panel import GREY, Json, Panel, axis, label, layout, line
from study.spec import Objective

MAX_TRIALS = 300
_NAMED = 10
_MAX_PARAMS = 8
_LOSSES = ("val_loss", "train_loss")


@dataclass(frozen=True)
class TrialCurves:
    """What is drawn of a trial; ``epochs`` and each of ``curves`` are [E], values that are missing NaN."""

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
    """Return what is drawn of a trial: a small part of its record."""
    epochs = np.array([one.epoch for one in record.history], dtype=np.float32)
    curves = {
        name: np.array([one.values.get(name, np.nan) for one in record.history], dtype=np.float32)
        for name in drawn_metrics(objective)
    }
    return TrialCurves(record.trial, record.state, record.value, _about(record), epochs, curves)


def study_page(study: str, objective: Objective, trials: Sequence[TrialCurves]) -> str:
    """Return a page of learning curves that needs no other file and no network.

    Args:
        study: its name.
        objective: decides which trials are best; those stand out.
        trials: in any order; the best ``MAX_TRIALS`` of them are drawn.
    """
    ranked = sorted(trials, key=lambda one: _place(one, objective))
    drawn = [one for one in ranked if len(one.epochs)][:MAX_TRIALS]
    title = f"{escape(study)}: learning curves"
    count = f"{len(drawn)} trials" if len(drawn) == len(trials) else f"{len(drawn)} of {len(trials)} trials"
    aim = {"max": "highest", "min": "lowest"}[objective.mode]
    note = f"{count}. In colour those with the {aim} {escape(objective.metric)}; a click in the legend hides a line."
    header = f'<header><h1>{title}</h1><p class="note">{note}</p></header>'
    panels = [found for name in drawn_metrics(objective) if (found := _panel(name, drawn)) is not None]
    return document(title, header, panels)


def _panel(metric: str, drawn: Sequence[TrialCurves]) -> Panel | None:
    # The best come last, so that they lie on top.
    data = [trace for at in reversed(range(len(drawn))) if (trace := _trace(drawn[at], metric, at)) is not None]
    if not data:
        return None
    longest = max(float(one.epochs.max()) for one in drawn)
    unit = f" [{METRICS[metric].unit}]" if metric in METRICS and METRICS[metric].unit not in ("", "1") else ""
    text = METRICS[metric].text if metric in METRICS else metric
    body = layout(
        440,
        legend={"traceorder": "reversed", "font": {"size": 11}},
        xaxis=axis("epoch", tickformat="d", **({"dtick": 1} if longest <= 12 else {})),
        yaxis=axis(f"{label(metric)}{unit}"),
    )
    return Panel(f"all-{metric}", metric, text, data, body, wide=True)


def _trace(one: TrialCurves, metric: str, at: int) -> Json | None:
    """Return the line of the ``at``-th best trial."""
    values = one.curves[metric].astype(np.float64)
    known = np.isfinite(values)
    if not known.any():
        return None
    x, y = one.epochs.astype(np.float64)[known], values[known]
    kept = thin(x, y) if len(x) > MAX_POINTS else np.arange(len(x))
    named = at < _NAMED
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(kept) <= 30 else "lines",
        "name": f"trial {one.trial}",
        "showlegend": named,
        "x": [int(epoch) for epoch in x[kept]],
        "y": [float(f"{value:.6g}") for value in y[kept]],
        "line": line(at) if named else {"color": GREY, "width": 1},
        "opacity": 1 if named else 0.45,
        "marker": {"size": 4 if named else 3},
        "text": one.about,
        "hovertemplate": "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
    }


def _place(one: TrialCurves, objective: Objective) -> tuple[bool, float, int]:
    if one.value is None or not np.isfinite(one.value):
        return (True, 0.0, one.trial)
    return (False, -one.value if objective.mode == "max" else one.value, one.trial)


def _about(record: TrialRecord) -> str:
    """Describe a trial in HTML that plotly shows beside the mouse."""
    chosen = [
        f"{label(name)}: {label(f'{value:.4g}' if isinstance(value, float) else str(value))}"
        for name, value in record.params.items()
    ]
    more = [f"… and {len(chosen) - _MAX_PARAMS} more"] if len(chosen) > _MAX_PARAMS else []
    return "<br>".join([f"<b>trial {record.trial}</b>, {record.state.value}", *chosen[:_MAX_PARAMS], *more])
