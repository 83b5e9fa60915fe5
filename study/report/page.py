"""Make one self-contained HTML page of a trial: its settings, its curves, its worst images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from study.records import METRICS, TrialRecord
from study.report.curves import class_scores
from study.report.figures import calibration_figure, confusion_figure, precision_recall_figure, roc_figure
from study.report.learning import learning_curves
from study.report.panel import Panel
from study.report.plotly_script import PACKED_ID, packed_plotly
from study.report.thumbnails import most_wrong_section

_ROUNDING = 1e-6  # a softmax of float32 may exceed 1 by as much
_KEY_METRICS = ("val_auc", "val_accuracy", "val_f1", "val_loss", "val_ece", "train_accuracy", "train_loss")
# Whatever the page holds, the browser fetches nothing for it.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px; max-width: 1320px; background: #fff; color: #22262b;
  font: 14px/1.45 system-ui, -apple-system, 'Segoe UI', sans-serif; }
h1 { font-size: 22px; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0; }
.note { color: #626a74; font-size: 12.5px; margin: 2px 0 6px; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 10px 0 0; }
.facts div { min-width: 0; } dt { color: #626a74; font-size: 12px; overflow-wrap: anywhere; }
dd { margin: 0; font-size: 16px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.params dd { font-size: 14px; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 16px;
  margin-top: 18px; }
section { border: 1px solid #e2e5e9; border-radius: 8px; padding: 14px; min-width: 0; }
.wide { grid-column: 1 / -1; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: 12px; }
figure { margin: 0; min-width: 0; } figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #f2f4f6; border: 3px solid #c9ced5; border-radius: 4px; }
.wrong img { border-color: #E69F00; }
figcaption { font-size: 11.5px; line-height: 1.35; overflow-wrap: anywhere; margin-top: 3px; }
.name { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; color: #626a74; }
#trouble { color: #a03800; }
"""
_SCRIPT = """
(async () => {
  const say = text => { document.getElementById('trouble').textContent = text; };
  try {
    const packed = document.getElementById('PACKED').textContent.trim();
    const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    const script = document.createElement('script');
    script.textContent = await new Response(unpacked).text();
    document.head.appendChild(script);
    const panels = JSON.parse(document.getElementById('panels').textContent);
    for (const [key, {data, layout}] of Object.entries(panels))
      await Plotly.newPlot('plot-' + key, data, layout, {responsive: true, displayModeBar: false});
  } catch (error) { say('The figures need a browser of 2023 or later: ' + error); }
})();
"""


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
    plots = {one.key: {"data": one.data, "layout": one.layout} for one in panels}
    return "".join((
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>{_header(record, title)}",
        '<p id="trouble" role="status"></p><main>', *map(_section, panels), worst, "</main>\n",
        f'<script type="application/json" id="panels">{_inert(plots)}</script>\n',
        f'<script type="text/plain" id="{PACKED_ID}">{packed_plotly()}</script>\n',
        f"<script>{_SCRIPT.replace('PACKED', PACKED_ID)}</script></body></html>\n",
    ))  # fmt: skip


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


def _section(panel: Panel) -> str:
    style = ' class="wide"' if panel.wide else ""
    height = panel.layout["height"]
    return (
        f"<section{style}><h2>{escape(panel.title)}</h2>"
        f'<p class="note">{escape(panel.note)}</p><div id="plot-{panel.key}" style="height:{height}px"></div></section>'
    )


def _inert(values: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
