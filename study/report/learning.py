"""Draw how a trial learned: losses, scores and learning rate over the epochs."""

from __future__ import annotations

import numpy as np

from study.records import METRICS, TrialRecord
from study.report.curves import MAX_POINTS, thin
from study.report.panel import BLUE, GREEN, GREY, PURPLE, VERMILLION, Json, Panel, axis, layout

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
    data = [trace for name in _SERIES if (trace := _trace(record, name)) is not None]
    note = "Dashed lines are training, solid ones validation."
    if record.epoch is not None:
        note += f" The vertical line is epoch {record.epoch}, whose weights were kept."
    title = f"Learning curves: loss and scores over {len(record.history)} epochs"
    return Panel("learning", title, note, data, _layout(record), wide=True)


def _trace(record: TrialRecord, name: str) -> Json | None:
    found = [(one.epoch, one.values[name]) for one in record.history if name in one.values]
    finite = [(epoch, value) for epoch, value in found if np.isfinite(value)]
    if not finite:
        return None
    # float: thinning measures distances; epochs go back to whole numbers below
    x, y = np.array(finite, dtype=np.float64).T
    kept = thin(x, y) if len(x) > MAX_POINTS else np.arange(len(x))
    where, colour, dash = _SERIES[name]
    lonely = len(kept) == 1 or len(kept) <= 30
    return {
        "type": "scatter",
        "mode": "lines+markers" if lonely else "lines",
        "name": name,
        "x": [int(epoch) for epoch in x[kept]],
        "y": [float(f"{value:.6g}") for value in y[kept]],
        "yaxis": where,
        "line": {"color": colour, "dash": dash, "width": 1.5 if where == "y3" else 2},
        "marker": {"size": 4},
        "hovertemplate": "%{y:.4g}",
    }


def _layout(record: TrialRecord) -> Json:
    names = {name for one in record.history for name in one.values}
    highest = max((one.values.get("learning_rate", 0.0) for one in record.history), default=0.0)
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
        body["shapes"] = [
            {
                "type": "line",
                "xref": "x",
                "x0": record.epoch,
                "x1": record.epoch,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": GREY, "width": 1.5, "dash": "dot"},
            }
        ]
    return body
