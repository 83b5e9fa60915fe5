"""The self-contained HTML page of a trial: its settings, curves and worst images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from study.figures.curves import Floats, Labels, class_scores, most_wrong
from study.figures.evaluation_figures import calibration_figure, confusion_figure, precision_recall_figure, roc_figure
from study.figures.html import document, jpeg_url
from study.figures.plotly_panel import Panel
from study.figures.study_page import learning_curves
from study.metric_catalog import METRICS
from study.records import TrialRecord
from study.utils.text import html_text, printable

MOST_WRONG = 25
_MAX_SIDE_PX = 160
_JPEG_QUALITY = 90


def most_wrong_section(
    scores: Floats, labels: Labels, classes: Sequence[str], images: NDArray[np.uint8], names: Sequence[str]
) -> str:
    """Return HTML with the images of the highest loss, the highest first.

    Args:
        scores: [M, K].
        labels: [M].
        classes: [K].
        images: [M, S, S, 3].
        names: [M].
    """
    worst = most_wrong(scores, labels, MOST_WRONG)
    called = scores.argmax(axis=1)
    wrong, errors = int(np.sum(called[worst] != labels[worst])), int(np.sum(called != labels))
    two = len(classes) == 2
    shown = f"score of {classes[1]}" if two else "score of the true class"
    cells = [
        _cell(images[at], names[at], classes[labels[at]], float(scores[at, 1 if two else labels[at]]),
              called[at] == labels[at])
        for at in worst
    ]  # fmt: skip
    return (
        f'<section class="wide" id="most_wrong"><h2>The {len(worst)} most wrong validation images</h2>'
        f'<p class="note">Highest loss first; of these {wrong} are called wrong (orange edge), of all {len(labels)} '
        f"validation images {errors}. The number is the {escape(shown)}.</p>"
        f'<div class="pictures">{"".join(cells)}</div></section>'
    )


def _cell(image: NDArray[np.uint8], name: str, true: str, score: float, right: bool) -> str:
    hidden, url = escape(name), jpeg_url(image, _MAX_SIDE_PX, _JPEG_QUALITY)
    # The end of a path is the more telling part; the tooltip has all of it.
    short = escape(name.rpartition("/")[2])
    return (
        f'<figure class="{"right" if right else "wrong"}"><img alt="{hidden}" title="{hidden}" src="{url}">'
        f'<figcaption><span class="name" title="{hidden}">{short}</span>'
        f"true: {escape(true)}<br><b>{score:.4f}</b></figcaption></figure>"
    )


_ROUNDING = 1e-6  # a softmax of float32 may exceed 1 by as much
_KEY_METRICS = ("val_auc", "val_accuracy", "val_f1", "val_loss", "val_ece", "train_accuracy", "train_loss")


def trial_page(
    record: TrialRecord,
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    images: NDArray[np.uint8],
    names: Sequence[str],
) -> str:
    """Return a page that needs no other file and no network.

    Args:
        record: the trial, with its history.
        scores: [M] of the positive class, ``classes[1]``, or [M, K] that sum to 1; in [0, 1].
        labels: [M], indices into ``classes``.
        classes: [K].
        images: [M, S, S, 3], the validation images in the order of the scores.
        names: [M].

    Raises:
        ValueError: lengths differ, or a score or label is out of range.
    """
    both = class_scores(scores)  # [M] -> [M, K]
    classes, names = list(map(printable, classes)), list(map(printable, names))
    _check(both, labels, classes, images, names)
    panels = trial_panels(record, both, labels, classes)
    worst = most_wrong_section(both, labels, classes, images, names)
    title = f"{html_text(record.study)}, trial {record.trial}"
    return document(title, _header(record, title), panels, worst)


def trial_panels(
    record: TrialRecord, scores: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]
) -> list[Panel]:
    """Return the figures of a trial in their order; scores are [M, K]."""
    evaluation = (roc_figure, precision_recall_figure, confusion_figure, calibration_figure)
    learning = learning_curves(record)
    return [*([] if learning is None else [learning]), *(draw(scores, labels, classes) for draw in evaluation)]


def _check(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    images: NDArray[np.uint8],
    names: Sequence[str],
) -> None:
    sizes = {"scores": len(scores), "labels": len(labels), "images": len(images), "names": len(names)}
    if len(set(sizes.values())) != 1 or not len(labels):
        raise ValueError(f"scores, labels, images and names must be of the same images, at least one, but got {sizes}")
    if scores.shape != (len(labels), len(classes)):
        raise ValueError(f"scores must be [images, classes], but got {scores.shape} for {len(classes)} classes")
    if not (np.isfinite(scores).all() and scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING):
        raise ValueError(f"scores must be in [0, 1], but lie in [{scores.min()}, {scores.max()}]")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels must be in [0, {len(classes)}), but lie in [{labels.min()}, {labels.max()}]")


def _header(record: TrialRecord, title: str) -> str:
    state = record.state.value + (f" ({record.stop_reason.value})" if record.stop_reason else "")
    spent = _duration(record)
    facts = {"state": state, "best epoch": f"{record.epoch} of {record.epochs_run}"}
    facts |= {name: f"{record.metrics[name]:.4f}" for name in _KEY_METRICS if name in record.metrics}
    params = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in record.params.items()}
    note = f"Metrics are of the best epoch; trained {spent} with seed {record.seed}."
    listed = _facts("facts params", params) if params else '<p class="note">Nothing was searched.</p>'
    return f'<header><h1>{title}</h1><p class="note">{note}</p>{_facts("facts", facts)}{listed}</header>'


def _duration(record: TrialRecord) -> str:
    if record.started_at_s is None or record.finished_at_s is None:
        return f"{record.epochs_run} epochs"
    return f"{record.epochs_run} epochs in {record.finished_at_s - record.started_at_s:.0f} s"


def _facts(style: str, facts: dict[str, str]) -> str:
    pairs = (
        f'<div><dt title="{escape(METRICS[name].text) if name in METRICS else ""}">{escape(name)}</dt>'
        f"<dd>{html_text(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="{style}">{"".join(pairs)}</dl>'
