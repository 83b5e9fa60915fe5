"""Make one self-contained HTML page of a trial: its settings, its curves, its worst images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from study.records import METRICS, TrialRecord
from study.report.curves import class_scores
from study.report.document import document
from study.report.figures import calibration_figure, confusion_figure, precision_recall_figure, roc_figure
from study.report.learning import learning_curves
from study.report.panel import Panel
from study.report.thumbnails import most_wrong_section

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
        labels: [M], places in ``classes``.
        classes: [K].
        images: [M, S, S, 3], the validation images in the order of the scores.
        names: [M].

    Raises:
        ValueError: lengths that differ, or a score or label out of range.
    """
    both = class_scores(scores)  # [M] -> [M, K]
    _check(both, labels, classes, images, names)
    panels = trial_panels(record, both, labels, classes)
    worst = most_wrong_section(both, labels, classes, images, names)
    title = f"{escape(record.study)}, trial {record.trial}"
    return document(title, _header(record, title), panels, worst)


def trial_panels(
    record: TrialRecord, scores: NDArray[np.float64], labels: NDArray[np.int64], classes: Sequence[str]
) -> list[Panel]:
    """Return the figures of a trial in their order; scores are [M, K]."""
    judged = (roc_figure, precision_recall_figure, confusion_figure, calibration_figure)
    learning = learning_curves(record)
    return [*([] if learning is None else [learning]), *(draw(scores, labels, classes) for draw in judged)]


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
        f"<dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return f'<dl class="{style}">{"".join(pairs)}</dl>'
