"""What a report consists of, before it has a format: sections with paragraphs, figures, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.utils.text import first_of, printable


@dataclass(frozen=True)
class Table:
    """Rows of text below headings.

    Attributes:
        headings: one per column.
        rows: each as long as ``headings``.
        right: columns that are aligned right, as numbers are.
        marked: rows that stand out.
        is_interactive: whether a reader may sort and filter it.
        title: what stands above it, where it is not a figure's.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    is_interactive: bool = False
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot: ``svg`` is the markup inside the element, already escaped; ``table`` has the numbers that it shows.

    ``description`` says in words what can be seen, for readers who cannot see it; ``note`` how it is read.
    """

    key: str
    title: str
    description: str
    svg: str
    width: float
    height: float
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A small image as a data URL, with its lines of caption; the first one is the file's name."""

    url: str
    caption: tuple[str, ...]
    is_wrong: bool


@dataclass(frozen=True)
class Fact:
    """A number or word that stands out, what it is called, and a sentence about it."""

    heading: str
    value: str
    text: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report; ``commands`` are lines for a shell."""

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report; the first section is what a reader sees without scrolling, ``answer`` its sentence."""

    title: str
    subtitle: str
    answer: str
    sections: tuple[Section, ...]


def number(value: object, digits: int = 4) -> str:
    """Write a value for people: short floats, words as they are and in one line, nothing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, tuple | list):
        return ",".join(number(each, digits) for each in value)
    if isinstance(value, bool) or not isinstance(value, float):
        return printable(str(value))
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    return f"{value:.{digits}f}"


def setting(value: object) -> str:
    """Write the value of a hyperparameter: floats with three digits that count, the rest as ``number`` does."""
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else number(value)


def signed(value: float) -> str:
    """Write a difference with its sign, to two digits that count."""
    return f"{value:+.2g}" if abs(value) < 0.1 else f"{value:+.3f}"


def between(low: float, high: float, digits: int = 4) -> str:
    """Write an interval."""
    return f"{number(low, digits)} to {number(high, digits)}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Write names as a part of a sentence, the last ones counted where there are many."""
    if len(names) > most:
        return first_of(names, most)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
