"""Figures of a trial's scores of the validation images: ROC, precision and recall, confusion, calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from study.figures import curves
from study.figures.curves import Calibration, Curve, Floats, Labels
from study.figures.plotly_panel import BLUE, GREY, Json, Panel, axis, label, layout, legend, line, numbers

MAX_CURVES = 10
_MAX_LABELLED = 14
_UNIT = [-0.01, 1.01]
_UNIT_AXIS = {"range": _UNIT, "dtick": 0.2}
_SHADES = [[0, "#ffffff"], [0.5, "#7fb8dc"], [1, BLUE]]


def roc_figure(scores: Floats, labels: Labels, classes: Sequence[str]) -> Panel:
    """Draw ROC curves: of the positive class of two, else of every class against the rest; scores are [M, K]."""
    by_class = _per_class(curves.roc, scores, labels)
    data = [_curve(by_class[k], k, at, classes, "AUC") for at, k in enumerate(_shown(by_class))]
    data.append(_guide([0, 1], [0, 1], "chance"))
    title = f"ROC curve: {_mean(by_class, 'AUC')}"
    note = "True positives won for the false alarms paid, over all thresholds." + _left_out(by_class, classes)
    body = layout(
        400,
        legend=legend(),
        xaxis=axis("false positive rate", **_UNIT_AXIS),
        yaxis=axis("true positive rate", **_UNIT_AXIS),
    )
    return Panel("roc", title, note, data, body)


def precision_recall_figure(scores: Floats, labels: Labels, classes: Sequence[str]) -> Panel:
    """Draw precision over recall, with the prevalence a guess would get; scores are [M, K]."""
    by_class = _per_class(curves.precision_recall, scores, labels)
    data = [_curve(by_class[k], k, at, classes, "AP") for at, k in enumerate(_shown(by_class))]
    if len(classes) == 2:
        share = round(float(np.mean(labels == 1)), 6)
        data.append(_guide([0, 1], [share, share], f"prevalence {share:.3f}"))
    else:
        data += [_prevalence(labels, k, at) for at, k in enumerate(_shown(by_class))]
    title = f"Precision and recall: {_mean(by_class, 'average precision')}"
    guides = "" if len(classes) == 2 else " Thin lines are each class's prevalence, what guessing gets."
    note = "How many calls are right, over how many images are found." + guides + _left_out(by_class, classes)
    body = layout(
        400,
        legend=legend("left"),
        xaxis=axis("recall", **_UNIT_AXIS),
        yaxis=axis("precision", **_UNIT_AXIS),
    )
    return Panel("precision_recall", title, note, data, body)


def confusion_figure(
    scores: Floats,
    labels: Labels,
    classes: Sequence[str],
    called: Labels | None = None,
    threshold: float | None = 0.5,
) -> Panel:
    """Draw the confusion matrix; scores are [M, K].

    Args:
        scores: of the classes; the highest counts where nothing else is ``called``.
        labels: [M].
        classes: [K].
        called: [M], predicted classes.
        threshold: by which those of two classes were predicted.
    """
    called = scores.argmax(axis=1) if called is None else called
    counts = curves.confusion(called, labels, len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = int(np.trace(counts))
    rows = zip(counts.tolist(), share.tolist(), strict=True)
    text = [[f"{count}<br>{part:.1%}" for count, part in zip(*row, strict=True)] for row in rows]
    names = [label(name) for name in classes]
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
    if len(classes) <= _MAX_LABELLED:
        heat |= {"texttemplate": "%{text}", "textfont": {"size": 16 if len(classes) <= 4 else 10}}
    ticks = {
        "tickvals": list(range(len(classes))),
        "ticktext": names,
        "showgrid": False,
        "ticks": "",
        "ticklabeloverflow": "allow",
    }
    # Horizontally a few long names would take a fifth of the width, and many would overlap.
    few, long = len(classes) <= 4, max(map(len, names)) > 8
    vertical = {"tickangle": -90} if few and long else {}
    slanted = {"tickangle": -35} if not few and long else {}
    body = layout(
        400,
        xaxis=axis("called", **ticks, **slanted),
        yaxis=axis("true class", autorange="reversed", **ticks, **vertical),
    )
    how = f"at threshold {threshold:.4g}" if len(classes) == 2 else "by the highest score"
    title = f"Confusion matrix: {right} of {len(labels)} right {how}"
    return Panel("confusion", title, "Counts, and the share of the row: of the images of one true class.", [heat], body)


def calibration_figure(scores: Floats, labels: Labels, classes: Sequence[str], name: str = "trial") -> Panel:
    """Draw frequencies over scores: of the positive class of two, else of the predicted class; scores are [M, K].

    The error in the title is always that of the predicted class, as in the metric ``val_ece``. ``name`` is that of the
    line.
    """
    two = len(classes) == 2
    of_called = curves.calibrate(scores.max(axis=1), scores.argmax(axis=1) == labels)
    calibration = curves.calibrate(scores[:, 1], labels == 1) if two else of_called
    what = f"score of {label(classes[1])}" if two else "score of the class called"
    body = layout(
        400,
        legend=legend("left", "top"),
        bargap=0.08,
        xaxis=axis(what, anchor="y2", **_UNIT_AXIS),
        yaxis=axis("share that is true", domain=[0.3, 1], **_UNIT_AXIS),
        yaxis2=axis("images", domain=[0, 0.22], nticks=3, rangemode="tozero"),
    )
    title = f"Calibration: expected error (ECE) {of_called.error:.4f}"
    note = (
        f"On the diagonal a score is a probability; {len(calibration.counts)} bins of equal width, their sizes below."
    )
    note += " The ECE is that of the class called." if two else ""
    return Panel("calibration", title, note, _reliability(calibration, name), body)


def _reliability(calibration: Calibration, name: str) -> list[Json]:
    """Return the reliability line of the bins that have images, the diagonal, and bars of all bins' sizes."""
    counts = calibration.counts
    middle = (np.arange(len(counts)) + 0.5) / len(counts)
    filled = counts > 0
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": numbers(calibration.score[filled]),
            "y": numbers(calibration.share[filled]),
            "customdata": counts[filled].tolist(),
            "line": line(0),
            "marker": {"size": 7},
            "hovertemplate": "score %{x:.3f}, true %{y:.3f}, %{customdata} images<extra></extra>",
        },
        _guide([0, 1], [0, 1], "perfect"),
        {
            "type": "bar",
            "name": "images",
            "x": numbers(middle),
            "y": counts.tolist(),
            "yaxis": "y2",
            "marker": {"color": "#b9cfe0"},
            "showlegend": False,
            "hovertemplate": "%{y} images<extra></extra>",
        },
    ]


_Draw = Callable[[Floats, NDArray[np.bool_]], Curve | None]


def _per_class(draw: _Draw, scores: Floats, labels: Labels) -> dict[int, Curve]:
    """Return the curve of the positive class of two, else of every class that has one."""
    classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    by_class = {k: draw(scores[:, k], labels == k) for k in classes}
    return {k: curve for k, curve in by_class.items() if curve is not None}


def _shown(by_class: dict[int, Curve]) -> list[int]:
    """Return the classes to draw: all, or those with the least area."""
    return sorted(sorted(by_class, key=lambda k: by_class[k].area)[:MAX_CURVES])


def _left_out(by_class: dict[int, Curve], classes: Sequence[str]) -> str:
    wanted = 1 if len(classes) == 2 else len(classes)
    hidden, missing = len(by_class) - len(_shown(by_class)), wanted - len(by_class)
    words = f" The {MAX_CURVES} worst classes of {len(by_class)} are drawn." if hidden else ""
    return words + (f" No curve: {missing} of {wanted} lacks images." if missing else "")


def _mean(by_class: dict[int, Curve], what: str) -> str:
    if not by_class:
        return f"no {what}"
    mean = sum(curve.area for curve in by_class.values()) / len(by_class)
    return f"{what} {mean:.4f}" if len(by_class) == 1 else f"mean {what} {mean:.4f} over {len(by_class)} classes"


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
