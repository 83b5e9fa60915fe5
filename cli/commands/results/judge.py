"""The command that judges anybody's predictions: judge."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json, Matters
from cli.output import number, print_json
from study.utils.text import printable

if TYPE_CHECKING:
    from study.analysis.statistics.contrast import Contrast
    from study.analysis.predictions import Predictions
    from study.analysis.verdict import Comparison, Judgement

File = Annotated[Path, typer.Argument(help="Predictions: an .npz or a .csv file.", metavar="FILE")]
MetricOption = Annotated[
    str,
    typer.Option(
        "--metric", metavar="M",
        help="auc, accuracy, loss, ece, f1, precision, recall, macro_f1 and the like, or recall:CLASS for one class.",
    ),
]  # fmt: skip
Names = Annotated[
    str | None,
    typer.Option("--names", metavar="A,B", help="Names of an .npz file's configurations, or those of a CSV to judge."),
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", metavar="A", help="Compare every other with this one too, in intervals that all hold."),
]

_NOTHING = 1e-6
"""An end of an interval that is nearer to 0 is shown as 0."""


def judge(
    file: File, metric: MetricOption, names: Names = None, matters: Matters = None, baseline: Baseline = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Say which of several configurations is the best by their predictions, whatever trained them."""
    from cli.queries.prediction_file import read_predictions
    from study.analysis.verdict import judge as judge_comparison
    from study.analysis.verdict_words import verdict_words
    from study.errors import UsageError

    wanted = None if names is None else [each.strip() for each in next(csv.reader([names], skipinitialspace=True), [])]
    if wanted is not None and (not all(wanted) or len(set(wanted)) < len(wanted)):
        raise UsageError(f"--names must be different names between commas, got `{names}`")
    predictions = read_predictions(file, wanted)
    try:
        comparison, notes = predictions.comparison(metric)
    except ValueError as error:
        raise UsageError(str(error)) from error
    judgement = judge_comparison(comparison)
    called = [str(name) for name in predictions.names]
    against = None if baseline is None else _index(called, baseline)
    result = _as_json(predictions, comparison, judgement, metric, matters)
    result["words"] = verdict_words(comparison, judgement, called, matters)
    result["notes"] = [*predictions.notes, *notes, *_notes(predictions, comparison, judgement)]
    if against is not None:
        result["against_baseline"] = _rows(comparison, against, predictions, matters)
    if json:
        print_json(result)
    else:
        _print(result)


def _index(names: list[str], name: str) -> int:
    from study.errors import UsageError

    if name not in names:
        raise UsageError(f"--baseline must be one of {', '.join(names)}, got `{name}`")
    return names.index(name)


def _as_json(
    predictions: Predictions, comparison: Comparison, judgement: Judgement, metric: str, matters: float | None
) -> dict[str, Any]:
    names = predictions.names
    differences = [
        _difference(names[other], each, matters)
        for other, each in zip(judgement.others, judgement.differences, strict=True)
    ]
    return {
        "metric": metric,
        "leader": names[judgement.leader],
        "verdict": judgement.verdict,
        "about": judgement.about,
        "words": "",
        "may_be_best": [names[k] for k in judgement.may_be_best],
        "differences": differences,
        "configurations": [
            {"name": names[k], **asdict(each), "seeds": int(comparison.runs.counts[k])}
            for k, each in enumerate(judgement.standings)
        ],
        "winner_value": asdict(judgement.winner),
        "images": int(predictions.scores.shape[1]),
    }


def _difference(name: str | int, each: Contrast, matters: float | None) -> dict[str, Any]:
    return {"to": name, **asdict(each), **_sameness(each, matters)}


def _sameness(each: Contrast, matters: float | None) -> dict[str, bool]:
    return {} if matters is None else {"practically_the_same": each.is_within(matters)}


def _rows(
    comparison: Comparison, baseline: int, predictions: Predictions, matters: float | None
) -> list[dict[str, Any]]:
    from study.analysis.verdict import against_baseline

    rows = against_baseline(comparison, baseline)
    return [
        {"name": predictions.names[k], "value": row.value, "low": row.low, "high": row.high, "p": row.p,
         **_sameness(row, matters)}
        for k, row in enumerate(rows)
        if k != baseline
    ]  # fmt: skip


def _notes(predictions: Predictions, comparison: Comparison, judgement: Judgement) -> list[str]:
    names, notes = predictions.names, []
    counts = comparison.runs.counts
    if judgement.about == "checkpoints" and len(names) > 1:
        once = "the runs of each configuration are the same" if judgement.is_deterministic else "each ran once"
        notes.append(f"{once}, so this is about checkpoints; which configuration is better takes several seeds of each")
    elif len(set(counts.tolist())) > 1 or not comparison.runs.is_balanced:
        notes.append("configurations ran with different seeds, so these are not paired")
        notes += [
            f"{names[k]} ran once, so nothing is known of its spread, and no claim is made about it"
            for k, many in enumerate(counts)
            if many == 1
        ]
    notes += [f"{names[k]} scatters: its seeds differ far more than those of the others" for k in judgement.scatters]
    if not judgement.known:
        notes.append("one image, or one group, holds all of a class, so nothing is known of the error")
    if judgement.verdict == "undecided" and len(names) > 2:
        notes.append("intervals of differences allow for the leader's having been picked; p values are of single pairs")
    return notes


def _print(result: dict[str, Any]) -> None:
    from cli.views.tables import make_table, print_table

    configurations = _counted(len(result["configurations"]), "configuration")
    _say(f"{result['metric']} of {configurations} on {_counted(result['images'], 'image')}")
    _say(f"certain?  {result['words']}")
    winner = result["winner_value"]
    expected = f"{number(winner['corrected'])} to be expected ({_ends(winner)})"
    _say(f"{result['leader']}: {number(winner['raw'])} measured, {expected}")
    best, to = set(map(str, result["may_be_best"])), {str(each["to"]): each for each in result["differences"]}
    rows = sorted(result["configurations"], key=lambda row: (row["rank_low"], row["rank_high"]))
    order = [str(result["leader"]), *to]
    rows.sort(key=lambda row: order.index(str(row["name"])))
    print_table(make_table(
        ["configuration", "seeds", result["metric"], "95 %", "rank", "leader less this", "95 % of that", "may be best"],
        [[str(row["name"]), str(row["seeds"]), number(row["value"]), _ends(row),
          _ranks(row), *_ahead(to.get(str(row["name"]))), "yes" if str(row["name"]) in best else "-"] for row in rows],
        right=["seeds", result["metric"], "leader less this"],
    ))  # fmt: skip
    rows = result.get("against_baseline", ())
    for row in rows:
        same = ", practically the same" if row.get("practically_the_same") else ""
        _say(f"{row['name']} against the baseline: {row['value']:+.4f} ({_ends(row)}), p {row['p']:.2g}{same}")
    if rows:
        _say("these intervals hold together, and p allows for their number")
    for each in result["differences"]:
        if each.get("practically_the_same"):
            _say(f"{result['leader']} and {each['to']} are practically the same")
    for note in result["notes"]:
        _say(f"note: {note}")


def _say(text: str) -> None:
    typer.echo(printable(text))  # names are anybody's and could be commands to a terminal


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def _ends(row: dict[str, Any]) -> str:
    low, high = (0.0 if abs(row[end]) < _NOTHING else row[end] for end in ("low", "high"))
    return "unknown" if math.isinf(high) else f"{number(low)} to {number(high)}"


def _ranks(row: dict[str, Any]) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return str(low) if low == high else f"{low}-{high}"


def _ahead(row: dict[str, Any] | None) -> tuple[str, str]:
    return ("-", "-") if row is None else (f"{row['value']:+.4f}", _ends(row))
