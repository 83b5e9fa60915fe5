"""Make a text that every database takes; pure."""

from __future__ import annotations


def storable(text: str) -> str:
    """Return the text with what UTF-8 or PostgreSQL cannot keep (lone surrogates, NUL) written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
