"""Write values, links and tables in Markdown so that nothing in them is taken for markup; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MOST_CHARACTERS = 60
_MARKUP = re.compile(r"[\\`*_{}\[\]<>&|~@#!]")
_BETWEEN_LETTERS = re.compile(r"(?<=\w)&#95;(?=\w)")


def plain(value: object, most: int = _MOST_CHARACTERS) -> str:
    """Return a value as Markdown that shows it literally, in one line, shortened where it is long."""
    text = " ".join(str(value).split())
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    # Entities mean the same to every renderer; backslashes do not, least of all before a pipe in a table.
    return _BETWEEN_LETTERS.sub("_", _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text))


def number(value: float) -> str:
    """Return a number with six digits."""
    return f"{value:.6g}"


def value(one: object) -> str:
    """Return a cell for a value: numbers with six digits, nothing for None."""
    if one is None:
        return ""
    return number(one) if isinstance(one, float) else plain(one)


def link(text: str, place: str | None) -> str:
    """Return a link, or only its text where there is no place."""
    return f"[{text}]({place})" if place else text


def table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose cells are Markdown already."""
    shown = [plain(one) for one in headings]
    return [_row(shown), _row(["---"] * len(shown)), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
