"""Formats of the commands' output: JSON for machines, numbers, durations, times and paths for people."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from study.errors import StudyError, UsageError
from study.files import write_text_atomic

STATE_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "FAILED": "red", "RUNNING": "cyan", "WAITING": "dim"}


def print_json(value: object) -> None:
    """Print strict JSON; a number JSON has no form for becomes null, and what does not print is escaped.

    It is flushed, so that a pipe has it at once although the command may go on.
    """
    print(json_text(value), flush=True)


def json_text(value: object, indent: int | None = 2) -> str:
    """Return what ``print_json`` prints; on one line where ``indent`` is None."""
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return _escaped(text, "utf" in (sys.stdout.encoding or "utf-8").lower())


def print_json_stream(head: Mapping[str, Any], key: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object of ``head`` and a list of rows under ``key``, each row as soon as it is there."""
    print(json_text(head)[:-2] + f',\n  "{key}": [', end="")
    between = "\n"
    for row in rows:
        print(f"{between}    {json_text(row, None)}", end="", flush=True)
        between = ",\n"
    print("\n  ]\n}", flush=True)


def spreadsheet_text(text: str, lead: str = "'") -> str:
    """Return a cell of CSV with ``lead`` before what a spreadsheet would compute instead of show, such as ``=1+1``."""
    begins = text[:1] in ("=", "@", "\t", "\r") or (text[:1] in ("+", "-") and len(text) > 1 and not _is_number(text))
    return lead + text if begins else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escaped(json_text: str, is_unicode: bool) -> str:
    def escape(character: str) -> str:
        stays = character == "\n" or (character.isprintable() and (is_unicode or character.isascii()))
        return character if stays else json.dumps(character)[1:-1]

    plain = json_text.replace("\n", "").isprintable() and (is_unicode or json_text.isascii())
    return json_text if plain else "".join(map(escape, json_text))


def require_output(out: Path) -> None:
    """Check before the work that a file may go where a person wants it.

    Raises:
        UsageError: it is a folder, or in no folder that can be written.
    """
    if out.is_dir():
        raise UsageError(f"--out must be a file, but {out} is a folder; name a file in it")
    place = next(each for each in out.absolute().parents if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"--out must be in a folder that can be written, but {place} is none; name another")


def write_output(out: Path, text: str) -> None:
    """Write a file that a person named.

    Raises:
        StudyError: it cannot be written.
    """
    try:
        write_text_atomic(out, text)
    except OSError as error:
        raise StudyError(f"{out} must be a file that can be written, but: {error.strerror}; name another") from error


def number(value: object, digits: int = 4) -> str:
    """Write a value for people: short floats, words as they are, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2e}"
    return f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Write a time span for people; a dash for one that is unknown or no number."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def short_path(path: str | None) -> str:
    """Write a path as short as it can be from here."""
    if path is None:
        return "-"
    here = Path.cwd()
    inside = Path(path).is_relative_to(here) and here != Path(here.anchor)
    return str(Path(path).relative_to(here)) if inside else path


def moment(at_s: float | None) -> str:
    """Write a moment in local time."""
    return "-" if at_s is None else datetime.fromtimestamp(at_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
