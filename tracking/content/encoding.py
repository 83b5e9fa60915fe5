"""Encode names and texts in the characters that MLflow accepts, and decode them; pure."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable

from study.utils.text import printable

MAX_NAME_CHARACTERS = 250
_REFUSED = re.compile(r"[^/\w.\- ]")
_LOOKS_ESCAPED = re.compile(r"_(?=u[0-9a-f]+_)")
_ESCAPED = re.compile(r"_u([0-9a-f]+)_")
_UNTIDY = re.compile(r"/|^\.+")
_DIGEST_CHARACTERS = 12


def safe_name(name: str) -> str:
    """Return a name that MLflow accepts; most stay as they are.

    MLflow accepts letters and digits of any script, ``_ - . /`` and spaces; the colon not on Windows. Any other
    character becomes ``_u<its number in hex>_``, as do slashes and first dots where the name would not be a normal
    path; ``plain_name`` decodes it. A name that is still too long is cut, with a digest in place of the rest.
    """
    encoded = _escape(_REFUSED, _LOOKS_ESCAPED.sub("_u5f_", name))
    if not _is_tidy(encoded):
        encoded = _escape(_UNTIDY, encoded)
    if len(encoded) <= MAX_NAME_CHARACTERS:
        return encoded
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{encoded[: MAX_NAME_CHARACTERS - _DIGEST_CHARACTERS - 1]}-{digest}"


def plain_name(name: str) -> str:
    """Return the name that ``safe_name`` was given, unless it was too long."""
    return _ESCAPED.sub(lambda match: _character(match[1]) or match[0], name)


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Return the names that MLflow does not accept, by what they are encoded as."""
    return {safe: name for name in names if (safe := safe_name(name)) != name}


def _escape(pattern: re.Pattern[str], name: str) -> str:
    return pattern.sub(lambda match: "".join(f"_u{ord(character):x}_" for character in match[0]), name)


def _is_tidy(name: str) -> bool:
    path = posixpath.normpath(name)
    return path == name and path != "." and not path.startswith(("..", "/"))


def _character(number: str) -> str | None:
    code = int(number, 16)
    return chr(code) if code <= 0x10FFFF else None


def as_ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text such as ``0-2 5``; none is written twice."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def of_ranges(text: str) -> frozenset[int]:
    """Return the numbers that ``as_ranges`` was given."""
    pairs = (part.partition("-") for part in text.split())
    return frozenset(number for first, _, last in pairs for number in range(int(first), int(last or first) + 1))


def displayable(text: str) -> str:
    """Return a name, tag, param or description whose characters, but for line ends, print; others are escaped."""
    return "\n".join(map(printable, text.split("\n")))


def storable(text: str) -> str:
    """Return the text with what UTF-8 or PostgreSQL cannot store (lone surrogates, NUL) written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
