"""Keep events in an append-only file until the tracker has acknowledged them."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from study.errors import TrackingError
from study.events import (
    EpochReported,
    Event,
    FinalLookTaken,
    PicturesDrawn,
    StudyEnded,
    StudyStarted,
    TrialFinished,
    TrialStarted,
)
from study.files import open_inside, sync_folder
from study.paths import StudyLayout
from tracking.outbox.provenance import Provenance
from tracking.run_ids import read_entries, write_entries

_log = logging.getLogger("tracking")
_KINDS: Final[dict[str, TypeAdapter[Any]]] = {
    kind.__name__: TypeAdapter(kind)
    for kind in (StudyStarted, TrialStarted, EpochReported, TrialFinished, PicturesDrawn, FinalLookTaken, StudyEnded)
}
_PROVENANCE = TypeAdapter(Provenance)
_REPORT_MARK = b'"kind":"EpochReported"'
_MARK_WITHIN_BYTES = 64
# The name of the study in front may contain anything, but its quotes are escaped.
_REPORT_OF_TRIAL = re.compile(rb'"trial":(\d+),"metrics":\{"epoch":(\d+),')
_TAIL_BLOCK_BYTES = 65_536
# From file names that are not UTF-8; a line with one could not be read back.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SYNC_EVERY_S = 1.0
_SYNCED_AT_ONCE = (StudyStarted, PicturesDrawn, FinalLookTaken, StudyEnded)
"""Events that are not in the storage, or that may follow the study's end; a resume records any other again."""


@dataclass(frozen=True)
class Line:
    """One event of the outbox; ``number`` counts from 1, ``end`` is the byte offset behind the line."""

    number: int
    event: Event
    provenance: Provenance | None
    end: int


@dataclass(frozen=True)
class Position:
    """How far a server (its URI without secrets) acknowledged the outbox."""

    tracking_uri: str
    number: int = 0
    offset: int = 0


_POSITION = TypeAdapter(Position)


class Outbox:
    """Appends events to the outbox: one per study, owned by the driver that holds the study's lock.

    A killed process loses nothing. A power cut may lose the events of trials of the last ``sync_every_s`` seconds that
    were not sent yet (sending syncs first): the storage has them all, and a resume records them again.

    Raises:
        TrackingError: the file cannot be written.
    """

    def __init__(self, path: Path, *, sync_every_s: float = SYNC_EVERY_S) -> None:
        self._path = path
        self._sync_every_s = sync_every_s
        self._synced_at_s = time.monotonic()
        self._synced = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._number = _repair(path)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            sync_folder(path.parent)
        except OSError as exc:
            raise TrackingError(f"An outbox must be writable, but {path}: {exc.strerror or exc}") from exc
        self._size = os.fstat(self._file).st_size

    def append(self, event: Event, provenance: Provenance | None = None) -> int:
        """Write one event, durably unless it is of a trial and soon after the last sync, and return its number.

        Raises:
            TrackingError: the disk refuses; nobody reads what is left of the event in the file.
        """
        line = _encode(self._number + 1, event, provenance)
        try:
            if os.fstat(self._file).st_size != self._size:
                os.ftruncate(self._file, self._size)
            _write_all(self._file, line)
            self._synced = False
            if isinstance(event, _SYNCED_AT_ONCE) or time.monotonic() - self._synced_at_s >= self._sync_every_s:
                self._sync()
        except OSError as exc:
            with suppress(OSError):  # what is left of the line goes before the next one is written
                os.ftruncate(self._file, self._size)
            raise TrackingError(
                f"An event must be on disk before it is sent, but {self._path} cannot be written: "
                f"{exc.strerror or exc}; what it had is safe: mend this and go on with "
                f"`{StudyLayout(self._path.parent).command('resume')}`"
            ) from exc
        self._number += 1
        self._size += len(line)
        return self._number

    def close(self) -> None:
        """Close the file; what is in it stays."""
        with suppress(OSError):  # only of what the storage has
            self._sync()
        os.close(self._file)

    def _sync(self) -> None:
        if not self._synced:
            os.fsync(self._file)
            self._synced, self._synced_at_s = True, time.monotonic()


def read_lines(path: Path, offset: int = 0, *, reports: bool = True, only: type[Event] | None = None) -> Iterator[Line]:
    """Yield whole lines from a byte offset on, stopping before a torn one.

    Args:
        path: The outbox; a missing file has no lines.
        offset: Where a line begins.
        reports: Whether epoch reports are wanted; skipping them unparsed is ten times faster.
        only: The one kind of event that is wanted.
    """
    if not path.exists():
        return
    wanted = f'"kind":"{only.__name__}"'.encode() if only else b""
    with open_inside(path, path.parent) as file:
        file.seek(offset)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            offset += len(raw)
            if (wanted and wanted not in raw[:_MARK_WITHIN_BYTES]) or (not reports and _is_report(raw)):
                continue
            if (line := _decode(raw, offset, path)) is not None:
                yield line


def _is_report(raw: bytes) -> bool:
    return _REPORT_MARK in raw[:_MARK_WITHIN_BYTES]


def count_lines(path: Path, offset: int = 0) -> int:
    """Return how many whole lines follow a byte offset."""
    if not path.exists():
        return 0
    with open_inside(path, path.parent) as file:
        file.seek(offset)
        return sum(block.count(b"\n") for block in iter(lambda: file.read(_TAIL_BLOCK_BYTES), b""))


def reported_epochs(path: Path, trials: Collection[int]) -> dict[int, set[int]]:
    """Return the epochs of some trials that have a report in the outbox."""
    epochs: dict[int, set[int]] = {trial: set() for trial in trials}
    if not epochs or not path.exists():
        return epochs
    with open_inside(path, path.parent) as file:
        for raw in file:
            match = _REPORT_OF_TRIAL.search(raw) if _is_report(raw) else None
            if match is not None and (trial := int(match[1])) in epochs:
                epochs[trial].add(int(match[2]))
    return epochs


def load_position(path: Path, tracking_uri: str, outbox: Path) -> Position:
    """Return how far this server acknowledged; the beginning for another server or an unreadable file.

    A position that is not the end of the line it names means the beginning too: the outbox was cut and grew again.
    """
    start = Position(tracking_uri)
    position = next((entry for entry in read_entries(path, _POSITION) if entry.tracking_uri == tracking_uri), start)
    try:
        with open_inside(outbox, outbox.parent) as file:
            end, last = _last_line(file.fileno(), position.offset)
        number = json.loads(last)["n"] if last else 0
    except (OSError, ValueError, TypeError, KeyError):
        return start
    return position if (end, number) == (position.offset, position.number) else start


def save_position(path: Path, position: Position) -> None:
    """Write the position, whole or not at all; those of other servers stay behind it."""
    known = read_entries(path, _POSITION)
    write_entries(path, _POSITION, position, (other for other in known if other.tracking_uri != position.tracking_uri))


def _encode(number: int, event: Event, provenance: Provenance | None) -> bytes:
    kind = type(event).__name__
    # A record read from the storage has lists where a new one has tuples; dumping makes them the same.
    fields = _KINDS[kind].dump_python(event, warnings=False)
    body: dict[str, object] = {"n": number, "kind": kind, "event": fields}
    if provenance is not None:
        body["provenance"] = _PROVENANCE.dump_python(provenance)
    # Non-finite numbers stay NaN and Infinity: a TypeAdapter's own JSON would make them null.
    if isinstance(event, EpochReported):
        with suppress(ValueError):  # text that is not UTF-8 takes the slower way below
            return to_json(body, inf_nan_mode="constants") + b"\n"
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return _LONE_SURROGATE.sub(lambda match: f"\\\\u{ord(match[0]):x}", text).encode() + b"\n"


def _decode(raw: bytes, end: int, path: Path) -> Line | None:
    try:
        body = _parsed(raw)
        event = _validated(body["kind"], body["event"])
        provenance = body.get("provenance")
        origin = None if provenance is None else _PROVENANCE.validate_python(provenance)
        return Line(int(body["n"]), event, origin, end)
    except (ValueError, KeyError, TypeError, ValidationError) as exc:
        _warn_of_damage(path, end, str(exc))
        return None


@lru_cache(maxsize=1024)
def _warn_of_damage(path: Path, end: int, fault: str) -> None:
    """Log a damaged line once: a last line is read again and again."""
    _log.error("%s: the line that ends at byte %d is damaged and was skipped: %s", path, end, fault)


def _parsed(raw: bytes) -> dict[str, Any]:
    with suppress(ValueError):
        return from_json(raw)  # type: ignore[no-any-return]
    return json.loads(raw)  # type: ignore[no-any-return]  # slower, but accepts escapes of what is not UTF-8


def _validated(kind: str, fields: dict[str, Any]) -> Event:
    if kind == EpochReported.__name__:  # by far the most, and plain numbers
        return _KINDS[kind].validate_python(fields)  # type: ignore[no-any-return]
    return _KINDS[kind].validate_json(json.dumps(fields))  # type: ignore[no-any-return]


def _repair(path: Path) -> int:
    """Cut a torn last line and return the number of the last whole one."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        end, last = _last_line(file.fileno(), size)
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())
            _log.warning("%s: cut a torn last line of %d bytes; its event was never acknowledged", path, size - end)
    try:
        return int(json.loads(last)["n"]) if last else 0
    except (ValueError, KeyError, TypeError):
        return max((line.number for line in read_lines(path)), default=0)


def _last_line(file: int, size: int) -> tuple[int, bytes]:
    """Return the offset behind the last whole line, and that line."""
    block = _TAIL_BLOCK_BYTES
    while True:
        start = max(0, size - block)
        tail = os.pread(file, size - start, start)
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
        if start == 0 or (end and begin):
            return start + end, tail[begin:end]
        block *= 4


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
