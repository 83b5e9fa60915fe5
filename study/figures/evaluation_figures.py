"""Draw how a trial's selected weights judge the validation images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from study.figures import curves
from study.figures.curves import Calibration, Curve, Floats, Labels
from study.figures.plotly_panel import BLUE, GREY, Json, Panel, axis, label, layout, legend, line, numbers

MAX_CURVES = 10
_MAX_WRITTEN = 14
_UNIT = [-0.01, 1.01]
_CLOSE = {"range": _UNIT, "dtick": 0.2}
_SHADES = [[0, "#ffffff"], [0.5, "#7fb8dc"], [1, BLUE]]


def roc_figure(scores: Floats, labels: Labels, classes: Sequence[str]) -> Panel:
    """Draw ROC curves: of the positive class of two, else of every class against the rest; scores are [M, K]."""
    found = _per_class(curves.roc, scores, labels)
    data = [_curve(found[k], k, at, classes, "AUC") for at, k in enumerate(_shown(found))]
    data.append(_guide([0, 1], [0, 1], "chance"))
    title = f"ROC curve: {_mean(found, 'AUC')}"
    note = "True positives won for the false alarms paid, over all thresholds." + _left_out(found, classes)
    body = layout(
        400,
        legend=legend(),
        xaxis=axis("false positive rate", **_CLOSE),
        yaxis=axis("true positive rate", **_CLOSE),
    )
    return Panel("roc", title, note, data, body)


def precision_recall_figure(scores: Floats, labels: Labels, classes: Sequence[str]) -> Panel:
    """Draw precision over recall, with the prevalence a guess would get; scores are [M, K]."""
    found = _per_class(curves.precision_recall, scores, labels)
    data = [_curve(found[k], k, at, classes, "AP") for at, k in enumerate(_shown(found))]
    if len(classes) == 2:
        share = round(float(np.mean(labels == 1)), 6)
        data.append(_guide([0, 1], [share, share], f"prevalence {share:.3f}"))
    else:
        data += [_prevalence(labels, k, at) for at, k in enumerate(_shown(found))]
    title = f"Precision and recall: {_mean(found, 'average precision')}"
    guides = "" if len(classes) == 2 else " Thin lines are each class's prevalence, what guessing gets."
    note = "How many calls are right, over how many images are found." + guides + _left_out(found, classes)
    body = layout(
        400,
        legend=legend("left"),
        xaxis=axis("recall", **_CLOSE),
        yaxis=axis("precision", **_CLOSE),
    )
    return Panel("precision_recall", title, note, data, body)


def confusion_figure(scores: Floats, labels: Labels, classes: Sequence[str]) -> Panel:
    """Count what was called what, at threshold 0.5 or the highest score; scores are [M, K]."""
    counts = curves.confusion(scores.argmax(axis=1), labels, len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = int(np.trace(counts))
    rows = zip(counts.tolist(), share.tolist(), strict=True)
    text = [[f"{count}<br>{part:.1%}" for count, part in zip(*row, strict=True)] for row in rows]
    names, places = [label(name) for name in classes], list(range(len(classes)))
    heat: Json = {
        "type": "heatmap",
        "z": [numbers(row) for row in share],
        "text": text,
        "zmin": 0,
        "zmax": 1,
        "colorscale": _SHADES,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{text} of this row<extra></extra>",
    }
    if len(classes) <= _MAX_WRITTEN:
        heat |= {"texttemplate": "%{text}", "textfont": {"size": 16 if len(classes) <= 4 else 10}}
    ticks = {"tickvals": places, "ticktext": names, "showgrid": False, "ticks": "", "ticklabeloverflow": "allow"}
    # A few long names would take a fifth of the width if they lay flat, many would cross if they did.
    few, long = len(classes) <= 4, max(map(len, names)) > 8
    turned = {"tickangle": -90} if few and long else {}
    leaning = {"tickangle": -35} if not few and long else {}
    body = layout(
        400,
        xaxis=axis("called", **ticks, **leaning),
        yaxis=axis("true class", autorange="reversed", **ticks, **turned),
    )
    how = "at threshold 0.5" if len(classes) == 2 else "by the highest score"
    title = f"Confusion matrix: {right} of {len(labels)} right {how}"
    return Panel("confusion", title, "Counts, and the share of the row: of the images of one true class.", [heat], body)


def calibration_figure(scores: Floats, labels: Labels, classes: Sequence[str]) -> Panel:
    """Compare scores with frequencies: of the positive class of two, else of the class called; scores are [M, K].

    The error in the title is that of the class called, whatever is drawn, as the metric ``val_ece`` is.
    """
    two = len(classes) == 2
    of_called = curves.calibrate(scores.max(axis=1), scores.argmax(axis=1) == labels)
    found = curves.calibrate(scores[:, 1], labels == 1) if two else of_called
    what = f"score of {label(classes[1])}" if two else "score of the class called"
    body = layout(
        400,
        legend=legend("left", "top"),
        bargap=0.08,
        xaxis=axis(what, anchor="y2", **_CLOSE),
        yaxis=axis("share that is true", domain=[0.3, 1], **_CLOSE),
        yaxis2=axis("images", domain=[0, 0.22], nticks=3, rangemode="tozero"),
    )
    title = f"Calibration: expected error (ECE) {of_called.error:.4f}"
    note = f"On the diagonal a score is a probability; {len(found.counts)} bins of equal width, their sizes below."
    note += " The ECE is that of the class called, as in val_ece." if two else ""
    return Panel("calibration", title, note, _reliability(found), body)


def _reliability(found: Calibration) -> list[Json]:
    """Return the reliability line of the bins that have images, the diagonal, and bars of all bins' sizes."""
    middle = (np.arange(len(found.counts)) + 0.5) / len(found.counts)
    filled = found.counts > 0
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "trial",
            "x": numbers(found.score[filled]),
            "y": numbers(found.share[filled]),
            "customdata": found.counts[filled].tolist(),
            "line": line(0),
            "marker": {"size": 7},
            "hovertemplate": "score %{x:.3f}, true %{y:.3f}, %{customdata} images<extra></extra>",
        },
        _guide([0, 1], [0, 1], "perfect"),
        {
            "type": "bar",
            "name": "images",
            "x": numbers(middle),
            "y": found.counts.tolist(),
            "yaxis": "y2",
            "marker": {"color": "#b9cfe0"},
            "showlegend": False,
            "hovertemplate": "%{y} images<extra></extra>",
        },
    ]


_Draw = Callable[[Floats, NDArray[np.bool_]], Curve | None]


def _per_class(draw: _Draw, scores: Floats, labels: Labels) -> dict[int, Curve]:
    """Return the curve of the positive class of two, else of every class that has one."""
    wanted = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    found = {k: draw(scores[:, k], labels == k) for k in wanted}
    return {k: curve for k, curve in found.items() if curve is not None}


def _shown(found: dict[int, Curve]) -> list[int]:
    """Return the classes to draw: all, or those with the least area."""
    return sorted(sorted(found, key=lambda k: found[k].area)[:MAX_CURVES])


def _left_out(found: dict[int, Curve], classes: Sequence[str]) -> str:
    wanted = 1 if len(classes) == 2 else len(classes)
    hidden, missing = len(found) - len(_shown(found)), wanted - len(found)
    words = f" The {MAX_CURVES} worst classes of {len(found)} are drawn." if hidden else ""
    return words + (f" No curve: {missing} of {wanted} lacks images." if missing else "")


def _mean(found: dict[int, Curve], what: str) -> str:
    if not found:
        return f"no {what}"
    mean = sum(curve.area for curve in found.values()) / len(found)
    return f"{what} {mean:.4f}" if len(found) == 1 else f"mean {what} {mean:.4f} over {len(found)} classes"


def _curve(curve: Curve, k: int, at: int, classes: Sequence[str], what: str) -> Json:
    kept = curves.thin(curve.x, curve.y)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{label(classes[k])}: {what} {curve.area:.4f}",
        "x": numbers(curve.x[kept]),
        "y": numbers(curve.y[kept]),
        "line": line(at),
        "hovertemplate": "(%{x:.3f}, %{y:.3f})",
    }


def _prevalence(labels: Labels, k: int, at: int) -> Json:
    share = round(float(np.mean(labels == k)), 6)
    return _guide([0, 1], [share, share], "", colour=str(line(at)["color"]))


def _guide(x: list[float], y: list[float], name: str, colour: str = GREY) -> Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x,
        "y": y,
        "line": {"color": colour, "width": 1, "dash": "dash"},
        "hoverinfo": "skip",
        "showlegend": bool(name),
    }
