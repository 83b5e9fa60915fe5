"""Write tables for people: a terminal's with colours and folded to fit, any other as wide as it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_MOST_RICH = 1000
"""Rows up to which rich lays a table out; it measures every cell several times."""
_LEAST = 8
"""What a column that folds keeps of its width."""
_BETWEEN = 3


@dataclass(frozen=True)
class TextColumn:
    """A heading, a cell per row and, where it has any, the style of each cell.

    Where a terminal is narrow the columns that fold give way; the others are never cut.
    """

    heading: str
    cells: Sequence[str]
    right: bool = False
    folds: bool = False
    styles: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """Columns of the same length below a title."""

    columns: Sequence[TextColumn]
    title: str = ""


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), folds: Sequence[str] = ()
) -> Table:
    """Make a table of rows; columns named in ``right`` are aligned right, those in ``folds`` may fold."""
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return Table(
        [TextColumn(name, found, name in right, name in folds) for name, found in zip(columns, cells, strict=True)]
    )


def print_table(table: Table) -> None:
    """Print a table; no part of a number is ever left out, so a narrow terminal may have to break lines."""
    from rich.console import Console

    console = Console(highlight=False)
    table = Table([_flat(one) for one in table.columns], _flat_text(table.title))
    if console.is_terminal and max((len(one.cells) for one in table.columns), default=0) <= _MOST_RICH:
        _print_rich(table, console)
    else:
        print("\n".join(plain_lines(table, "-" if console.options.ascii_only else "─")), flush=True)


def plain_lines(table: Table, rule: str = "─") -> list[str]:
    """Return the lines of a table as wide as it needs."""
    padded = []
    for one in table.columns:
        width = _width(one)
        padded.append([_padded(cell, width, right=one.right) for cell in (one.heading, *one.cells)])
    head, *rows = [" " + (" " * _BETWEEN).join(cells) for cells in zip(*padded, strict=True)]
    lines = ["", head, " " + rule * (_cells(head) - 1), *rows, ""]
    return [line.rstrip() for line in ([table.title, *lines] if table.title else lines)]


def _print_rich(table: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    if table.title:
        shown.title = Text(table.title, style="table.title", overflow="fold")
    for one in table.columns:
        shown.add_column(
            Text(one.heading), justify="right" if one.right else "left", overflow="fold",
            no_wrap=not one.folds, min_width=_least(one),
        )  # fmt: skip
    columns = [zip(one.cells, one.styles or [""] * len(one.cells), strict=True) for one in table.columns]
    for row in zip(*columns, strict=True):
        shown.add_row(*(Text(text, style) for text, style in row))
    needed = sum(map(_least, table.columns)) + _BETWEEN * (len(table.columns) - 1) + 2  # a blank at either edge
    console.width = max(console.width, needed)
    console.print(shown)


def _least(column: TextColumn) -> int:
    """Return the width below which a column must not be."""
    width = _width(column)
    return min(width, _LEAST) if column.folds else width


def _width(column: TextColumn) -> int:
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


def _flat(column: TextColumn) -> TextColumn:
    cells = [_flat_text(one) for one in column.cells]
    return TextColumn(_flat_text(column.heading), cells, column.right, column.folds, column.styles)


def _flat_text(text: str) -> str:
    """Return a text on one line, without what a terminal would obey."""
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)
