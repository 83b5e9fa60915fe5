"""The command that compares two runs: diff."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, ReadUri, Results
from cli.output import number, print_json
from cli.tables import make_table, print_table

if TYPE_CHECKING:
    from cli.differences import Differences, Pair
    from cli.one_run import OneRun

Run = Annotated[str, typer.Argument(help="STUDY/TRIAL such as ablation/3, or an MLflow run id.", metavar="RUN")]
_DIGITS = 6
_SHOWN = 60


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("diff")(diff)


def diff(one: Run, other: Run, results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """Print what differs between two runs: parameters, data, code, environment, outcome and metrics."""
    from cli.differences import as_json, find_differences
    from cli.one_run import seen_run, served_run

    def read(text: str) -> OneRun:
        return served_run(tracking_uri, text) if tracking_uri else seen_run(results, text)

    first, second = read(one), read(other)
    found = find_differences(first, second)
    if json:
        print_json(as_json(first, second, found))
        return
    _print(first, second, found)


def _print(one: OneRun, other: OneRun, found: Differences) -> None:
    from cli.differences import difference

    typer.echo(f"{one.label} against {other.label}: {_summary(one, other, found)}")
    for section, part in found.sections.items():
        more = difference if section == "metrics" else None
        _print_part(section, part, one.label, other.label, more)
    if found.measured:
        _print_part("time and memory", found.measured, one.label, other.label, difference)


def _summary(one: OneRun, other: OneRun, found: Differences) -> str:
    if found.is_empty:
        but = " but time and memory" if found.measured else ""
        text = f"nothing differs{but}"
    else:
        text = "different are " + ", ".join(f"{name} ({len(part)})" for name, part in found.sections.items())
    parts = {"data": (one.data, other.data), "code": (one.code, other.code),
             "environment": (one.machine, other.machine)}  # fmt: skip
    unknown = [name for name, pair in parts.items() if not all(pair)]
    return text + (f"; not known of both: {', '.join(unknown)}" if unknown else "")


def _print_part(
    heading: str, part: Mapping[str, Pair], one: str, other: str, difference: Callable[[Pair], float | None] | None
) -> None:
    names = [one, f"{other} (second)" if one == other else other]
    columns = [heading, *names, *(["difference"] if difference else [])]
    rows = [
        [name, *map(_word, pair), *([_signed(difference(pair))] if difference else [])] for name, pair in part.items()
    ]
    numeric = columns[1:] if difference else ()
    print_table(make_table(columns, rows, right=numeric, folds=() if difference else names))


def _word(value: Any) -> str:
    text = number(value, _DIGITS)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _signed(value: float | None) -> str:
    if value is None:
        return "-"
    text = number(value, _DIGITS)
    return text if text.startswith("-") else f"+{text}"
