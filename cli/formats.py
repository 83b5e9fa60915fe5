"""Write one table in several formats: for a terminal, Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cli.output import number
from cli.tables import Table, TextColumn


class Format(StrEnum):
    """What ``--format`` admits."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"


@dataclass(frozen=True)
class Column:
    """A column: its heading, a value per row, how people read it.

    ``exact`` names it in CSV; None leaves it out there, and ``hidden`` everywhere else. A terminal shows each value in
    its ``style``, and folds those of a column that ``folds`` where they do not fit.
    """

    heading: str
    values: Sequence[Any]
    right: bool = False
    text: Callable[[Any], str] = number
    style: Callable[[Any], str] | None = field(default=None, compare=False)
    exact: str | None = ""
    hidden: bool = False
    folds: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table before it has a format; ``notes`` are sentences below it."""

    title: str
    columns: Sequence[Column]
    notes: Sequence[str] = ()

    @property
    def shown(self) -> list[Column]:
        """The columns for people."""
        return [one for one in self.columns if not one.hidden]


def as_table(sheet: Sheet) -> Table:
    """Return a table for a terminal."""
    columns = [
        TextColumn(
            one.heading, [one.text(value) for value in one.values], one.right, one.folds,
            [one.style(value) for value in one.values] if one.style else (),
        )
        for one in sheet.shown
    ]  # fmt: skip
    return Table(columns, sheet.title)


def as_text(sheet: Sheet, kind: Format) -> str:
    """Return it as Markdown, CSV or LaTeX; CSV has numbers in full, times in seconds and CR LF as RFC 4180 asks."""
    if kind is Format.CSV:
        return _csv([one for one in sheet.columns if one.exact is not None])
    cells = [[one.text(value) for value in one.values] for one in sheet.shown]
    rows = list(zip(*cells, strict=True))
    return _markdown(sheet.shown, rows) if kind is Format.MARKDOWN else _latex(sheet.shown, rows)


def _csv(columns: Sequence[Column]) -> str:
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([one.exact or one.heading for one in columns])
    writer.writerows(zip(*([_exact(value) for value in one.values] for one in columns), strict=True))
    return written.getvalue()


def _exact(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _markdown(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    heads = [markdown_text(one.heading) for one in columns]
    marks = ["---:" if one.right else "---" for one in columns]
    lines = [heads, marks, *([markdown_text(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_text(text: str) -> str:
    """Escape what Markdown would take for its own; an underscore inside a word is none."""
    text = " ".join(text.split()).replace("&", "&amp;")
    text = re.sub(r"([\\`*\[\]<>|~])", r"\\\1", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _latex(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        r"\begin{tabular}{" + "".join("r" if one.right else "l" for one in columns) + "}",
        r"\toprule",
        _latex_row([one.heading for one in columns]),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _latex_row(cells: Sequence[str]) -> str:
    line = " & ".join(map(latex_text, cells))
    # A bracket or star first in a row would belong to the \\ of the row before.
    return (f"{{}}{line}" if line.startswith(("[", "*")) else line) + r" \\"


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", **{one: f"\\{one}" for one in "%_&#{}$"},
}  # fmt: skip


def latex_text(text: str) -> str:
    """Escape what TeX would take for its own."""
    return "".join(_LATEX.get(one, one) for one in " ".join(text.split()))
