"""The page of an evaluation: metrics with intervals, ROC, confusion, calibration, and the most wrong pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from study.figures.curves import most_wrong
from study.figures.evaluation_figures import calibration_figure, confusion_figure, roc_figure
from study.figures.html import document, jpeg_url
from study.inference.evaluation import Estimate, Ints, PairedDifference, Scored, verdict
from study.utils.text import html_text, printable

MOST_WRONG = 24
_SIDE_PX = 160
_QUALITY = 88
_STYLE = """<style>
table.plain { border-collapse: collapse; margin: 10px 0; } table.plain td, table.plain th { padding: 3px 14px 3px 0;
  border-bottom: 1px solid #e2e5e9; text-align: left; font-variant-numeric: tabular-nums; }
table.plain th { color: #626a74; font-weight: 500; font-size: 12.5px; } td.n, th.n { text-align: right !important; }
</style>"""

Load = Callable[[int], NDArray[np.uint8]]
"""Decodes the picture of an index to [S, S, 3] again."""


@dataclass(frozen=True)
class Rival:
    """Other predictions of the same pictures: of a second bundle, or of the same one that was shown them otherwise.

    ``load`` decodes what it was shown, where that is not what the first was shown.
    """

    name: str
    scored: Scored
    rows: Sequence[PairedDifference]
    metrics: Sequence[Estimate]
    load: Load | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a page is about.

    Attributes:
        bundle, folder: what was evaluated on what, for people.
        scored: predictions of the pictures.
        names: of the pictures.
        threshold: of the positive class; None for more than two classes.
        metrics: with intervals.
        notes: what had to be assumed.
        others: predicted classes of pictures whose folders are no class, by folder.
        rival: what it is compared with, or None.
        way: what the predictions are called beside those of the rival; empty for the bundle's name.
        whole: why pictures were taken whole though faces were looked for, by their names.
        groups: how many groups of pictures that belong together there are; None where each stands for itself.
    """

    bundle: str
    folder: str
    scored: Scored
    names: Sequence[str]
    threshold: float | None
    metrics: Sequence[Estimate]
    notes: Sequence[str]
    others: dict[str, Ints]
    rival: Rival | None = None
    way: str = ""
    whole: Mapping[str, str] = field(default_factory=dict)
    groups: int | None = None

    @property
    def first(self) -> str:
        """What the predictions are called beside those of the rival."""
        return self.way or self.bundle


def evaluation_page(evaluation: Evaluation, load: Load) -> str:
    """Return a page that needs no other file and no network.

    Args:
        evaluation: what it shows.
        load: of the pictures that it shows.
    """
    scored = evaluation.scored
    classes = [printable(name) for name in scored.classes]
    panels = [
        roc_figure(scored.probabilities, scored.labels, classes),
        confusion_figure(scored.probabilities, scored.labels, classes, scored.predicted, evaluation.threshold),
        calibration_figure(scored.probabilities, scored.labels, classes, "measured"),
    ]
    title = f"{evaluation.bundle} on {evaluation.folder}{', ' if evaluation.way else ''}{evaluation.way}"
    below = [_others(evaluation, classes), _rival_table(evaluation), _rival_pictures(evaluation, load),
             _worst(evaluation, load)]  # fmt: skip
    return document(html_text(title), _STYLE + _header(evaluation, title), panels, "".join(below))


def _header(evaluation: Evaluation, title: str) -> str:
    scored, accuracy = evaluation.scored, evaluation.metrics[0]
    rule = "the likeliest class" if evaluation.threshold is None else (
        f"{scored.classes[1]} where its probability is above {evaluation.threshold:.4g}"
    )  # fmt: skip
    notes = "".join(f'<p class="note">{html_text(note)}</p>' for note in evaluation.notes)
    ways = "those of fractions by Clopper and Pearson, the others by how the pictures vary"
    if evaluation.groups is not None:
        ways = f"by how {evaluation.groups} groups of pictures vary, those of fractions by Korn and Graubard"
    alike = "pictures" if evaluation.groups is None else "groups"
    return (
        f"<header><h1>{html_text(title)}</h1><p><b>{accuracy.hits} of {accuracy.images} pictures right: "
        f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})</b></p>"
        f"<p class='note'>Predicted is {html_text(rule)}. Intervals are of 95 %, {ways}; they hold for {alike} like "
        "these, taken independently.</p>"
        f"{notes}{_metric_table(evaluation.metrics)}</header>"
    )


def _metric_table(metrics: Sequence[Estimate]) -> str:
    rows = "".join(
        f'<tr><td>{html_text(each.name)}</td><td class="n">{each.value:.4f}</td><td class="n">'
        f"{_ends(each.low, each.high)}</td>"
        f'<td class="n">{"" if each.hits is None else f"{each.hits} of {each.images}"}</td></tr>'
        for each in metrics
    )
    return (
        '<table class="plain"><tr><th>metric</th><th class="n">value</th><th class="n">95 %</th>'
        f'<th class="n">pictures</th></tr>{rows}</table>'
    )


def _others(evaluation: Evaluation, classes: Sequence[str]) -> str:
    if not evaluation.others:
        return ""
    rows = "".join(
        f"<tr><td>{html_text(folder)}</td>"
        + "".join(f'<td class="n">{count}</td>' for count in np.bincount(predicted, minlength=len(classes)))
        + "</tr>"
        for folder, predicted in evaluation.others.items()
    )
    heads = "".join(f'<th class="n">{html_text(name)}</th>' for name in classes)
    return (
        '<section class="wide"><h2>Folders that are no class of the bundle</h2><p class="note">How their pictures '
        "were called; no metric counts them.</p>"
        f'<table class="plain"><tr><th>folder</th>{heads}</tr>{rows}</table></section>'
    )


def _rival_table(evaluation: Evaluation) -> str:
    if (rival := evaluation.rival) is None:
        return ""
    rows = "".join(
        f'<tr><td>{html_text(row.name)}</td><td class="n">{row.first:.4f}</td><td class="n">{row.second:.4f}</td>'
        f'<td class="n">{row.difference.value:+.4f}</td>'
        f'<td class="n">{_ends(row.difference.low, row.difference.high, signed=True)}</td>'
        f'<td class="n">{row.difference.p:.3g}</td>'
        f'<td class="n">{"" if row.only_first is None else f"{row.only_first} : {row.only_second}"}</td></tr>'
        for row in rival.rows
    )
    heads = [evaluation.first, rival.name, "difference", "95 %", "p", "right alone"]
    columns = "".join(f"<th class=n>{html_text(head)}</th>" for head in heads)
    ways = "Accuracy and recall by McNemar's test (mid-p) with the interval of Bonett and Price, AUC by DeLong."
    if evaluation.groups is not None:
        ways = f"Tests and intervals by how {evaluation.groups} groups of pictures differ."
    return (
        f'<section class="wide" id="against"><h2>{html_text(evaluation.first)} against {html_text(rival.name)}</h2>'
        f"<p><b>Which is better? {html_text(verdict(rival.rows, evaluation.first, rival.name))}</b></p>"
        f'<p class="note">The same pictures for both. {ways} Each row answers for itself; the first is the one to go '
        "by.</p>"
        f'<table class="plain"><tr><th>metric</th>{columns}</tr>'
        f"{rows}</table><h3>{html_text(rival.name)} alone</h3>{_metric_table(rival.metrics)}</section>"
    )


def _rival_pictures(evaluation: Evaluation, load: Load) -> str:
    if (rival := evaluation.rival) is None:
        return ""
    differ = np.flatnonzero(evaluation.scored.predicted != rival.scored.predicted)
    if not len(differ):
        return ""
    cells = "".join(_cell(evaluation, int(at), load, rival.load) for at in differ[:MOST_WRONG])
    note = f"An orange edge: {html_text(evaluation.first)} is wrong.{_first_of(len(differ))}"
    if rival.load is not None:
        note += f" What the model saw, above: {html_text(evaluation.first)}, below: {html_text(rival.name)}."
    return (
        f'<section class="wide"><h2>Pictures that the two call differently: {len(differ)}</h2>'
        f'<p class="note">{note}</p><div class="pictures">{cells}</div>'
        "</section>"
    )


def _worst(evaluation: Evaluation, load: Load) -> str:
    scored = evaluation.scored
    wrong = np.flatnonzero(~scored.right)
    order = most_wrong(scored.probabilities[wrong], scored.labels[wrong], MOST_WRONG)
    if not len(wrong):
        return '<section class="wide" id="most_wrong"><h2>No picture is called wrong</h2></section>'
    cells = "".join(_cell(evaluation, int(at), load) for at in wrong[order])
    return (
        f'<section class="wide" id="most_wrong"><h2>Pictures called wrong: {len(wrong)} of {len(scored.labels)}</h2>'
        '<p class="note">Highest loss first. The number is the probability of the true class.'
        f'{_first_of(len(wrong))}</p><div class="pictures">{cells}</div></section>'
    )


def _first_of(count: int) -> str:
    return f" The first {MOST_WRONG} of {count}." if count > MOST_WRONG else ""


def _cell(evaluation: Evaluation, at: int, load: Load, load_other: Load | None = None) -> str:
    scored, name = evaluation.scored, html_text(evaluation.names[at])
    short = html_text(evaluation.names[at].rpartition("/")[2])
    true, called = scored.labels[at], scored.predicted[at]
    pictures = "".join(
        f'<img alt="{name}" title="{name}" src="{jpeg_url(each(at), _SIDE_PX, _QUALITY)}">'
        for each in (load, load_other)
        if each is not None
    )
    why = evaluation.whole.get(evaluation.names[at])
    return (
        f'<figure class="{"right" if true == called else "wrong"}">{pictures}'
        f'<figcaption><span class="name" title="{name}">{short}</span>true: '
        f"{html_text(scored.classes[true])}<br>called: {html_text(scored.classes[called])}<br>"
        f"<b>{scored.probabilities[at, true]:.4f}</b>{'' if why is None else f'<br>{html_text(why)}, taken whole'}"
        "</figcaption></figure>"
    )


def _ends(low: float, high: float, *, signed: bool = False) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "-"
    sign = "+" if signed else ""
    return f"{low:{sign}.4f} to {high:{sign}.4f}"
