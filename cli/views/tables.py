"""Write one table in several formats: for a terminal, Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cli.output import number, spreadsheet_text
from study.utils.streams import styled
from study.utils.text import markdown_text, printable

if TYPE_CHECKING:
    from rich.console import Console


_MOST_RICH = 1000
"""Rows up to which rich lays a table out; it measures every cell several times."""
_LEAST = 8
"""What a column that folds keeps of its width."""
_BETWEEN = 3


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

    @property
    def cells(self) -> list[str]:
        """The text of each value."""
        return [self.text(value) for value in self.values]


@dataclass(frozen=True)
class TableModel:
    """A table before it has a format; ``notes`` are sentences below it."""

    title: str
    columns: Sequence[Column]
    notes: Sequence[str] = ()

    @property
    def shown(self) -> list[Column]:
        """The columns for people."""
        return [column for column in self.columns if not column.hidden]


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), folds: Sequence[str] = ()
) -> TableModel:
    """Make a table of rows; columns named in ``right`` are aligned right, those in ``folds`` may fold."""
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return TableModel(
        "",
        [Column(name, values, name in right, folds=name in folds) for name, values in zip(columns, cells, strict=True)],
    )


def print_table(table: TableModel) -> None:
    """Print a table; no part of a number is ever left out, so a narrow terminal may have to break lines."""
    from rich.console import Console

    console = Console(file=styled(sys.stdout), highlight=False)
    table = TableModel(printable(table.title), [_flat(column) for column in table.shown])
    if console.is_terminal and max((len(column.values) for column in table.columns), default=0) <= _MOST_RICH:
        _print_rich(table, console)
    else:
        print("\n".join(plain_lines(table, "-" if console.options.ascii_only else "─")), flush=True)


def plain_lines(table: TableModel, rule: str = "─") -> list[str]:
    """Return the lines of a table as wide as it needs."""
    padded = []
    for column in table.columns:
        width = _width(column)
        padded.append([_padded(cell, width, right=column.right) for cell in (column.heading, *column.cells)])
    head, *rows = [" " + (" " * _BETWEEN).join(cells) for cells in zip(*padded, strict=True)]
    lines = ["", head, " " + rule * (_cells(head) - 1), *rows, ""]
    return [line.rstrip() for line in ([table.title, *lines] if table.title else lines)]


def _print_rich(table: TableModel, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    if table.title:
        shown.title = Text(table.title, style="table.title", overflow="fold")
    for column in table.columns:
        shown.add_column(
            Text(column.heading), justify="right" if column.right else "left", overflow="fold",
            no_wrap=not column.folds, min_width=_least(column),
        )  # fmt: skip
    for row in zip(*(column.values for column in table.columns), strict=True):
        pairs = zip(table.columns, row, strict=True)
        shown.add_row(
            *(Text(column.text(value), column.style(value) if column.style else "") for column, value in pairs)
        )
    needed = sum(map(_least, table.columns)) + _BETWEEN * (len(table.columns) - 1) + 2  # a blank at either edge
    console.width = max(console.width, needed)
    console.print(shown)


def _least(column: Column) -> int:
    """Return the width below which a column must not be."""
    width = _width(column)
    return min(width, _LEAST) if column.folds else width


def _width(column: Column) -> int:
    return max(map(_cells, (column.heading, *column.cells)))


def _cells(text: str) -> int:
    """Return how many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _cells(text))
    return space + text if right else text + space


def _flat(column: Column) -> Column:
    text = column.text
    return replace(column, heading=printable(column.heading), text=lambda value: printable(text(value)))


class Format(StrEnum):
    """What ``--format`` admits."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"


def as_text(model: TableModel, kind: Format) -> str:
    """Return it as Markdown, CSV or LaTeX; CSV has numbers in full, times in seconds and CR LF as RFC 4180 asks."""
    if kind is Format.CSV:
        return _csv([column for column in model.columns if column.exact is not None])
    rows = list(zip(*(column.cells for column in model.shown), strict=True))
    return _markdown(model.shown, rows) if kind is Format.MARKDOWN else _latex(model.shown, rows)


def _csv(columns: Sequence[Column]) -> str:
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow([column.exact or column.heading for column in columns])
    writer.writerows(zip(*([_exact(value) for value in column.values] for column in columns), strict=True))
    return written.getvalue()


def _exact(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return spreadsheet_text(value)
    return repr(value) if isinstance(value, float) else str(value)


def _markdown(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    heads = [markdown_text(column.heading) for column in columns]
    marks = ["---:" if column.right else "---" for column in columns]
    lines = [heads, marks, *([markdown_text(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _latex(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        r"\begin{tabular}{" + "".join("r" if column.right else "l" for column in columns) + "}",
        r"\toprule",
        _latex_row([column.heading for column in columns]),
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
    ">": r"\textgreater{}", "|": r"\textbar{}", **{character: f"\\{character}" for character in "%_&#{}$"},
}  # fmt: skip


_PLUS_MINUS, _MINUS = re.compile(r"(?<!\S)\+-(?=\w)"), re.compile(r"(?<![^\s(])-(?=\d)")


def latex_text(text: str) -> str:
    """Escape what TeX would take for its own, and set signs of numbers as such, not as hyphens."""
    escaped = "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
    return _MINUS.sub("$-$", _PLUS_MINUS.sub(r"$\\pm$", escaped))
