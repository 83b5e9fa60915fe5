"""Names and values from elsewhere as text that a terminal, a table or a page can show."""

from __future__ import annotations

import unicodedata


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


def _prints(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
