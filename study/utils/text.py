"""Names and values as text that a message, a table or a page can show."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from html import escape


def printable(text: str) -> str:
    r"""Return text with every character that does not print escaped: ``\n``, ``\x1b``, ``\u202e``.

    These are control, format (zero width, right to left), surrogate, private and unassigned characters and line
    separators. Spaces of any width and all other Unicode stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character if _prints(character) else character.encode("unicode_escape").decode("ascii") for character in text
    )


def shorten(text: str, most: int = 60) -> str:
    """Return text that prints, cut where it is longer."""
    shown = printable(text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def first_of(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first of some names as a part of a sentence, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def show(value: object) -> str:
    """Write a value as in a study file, cut short; text stands in quotes."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, float):
        return show_bare(value)
    return shorten(json.dumps(value, ensure_ascii=False, default=str))


def show_bare(value: object) -> str:
    """Write a single value as in a study file, text without quotes."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float):
        return (
            repr(value) if math.isfinite(value) else ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        )
    return show(value)


def html_text(text: str) -> str:
    """Return text that prints and that no markup can hide in."""
    return escape(printable(text))


def markdown_text(text: str) -> str:
    """Escape what Markdown would take for its own; an underscore inside a word is none."""
    text = " ".join(text.split()).replace("&", "&amp;")
    text = re.sub(r"([\\`*\[\]<>|~])", r"\\\1", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _prints(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
