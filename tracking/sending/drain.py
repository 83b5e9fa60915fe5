"""Move the outbox into MLflow, one process at a time."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from itertools import takewhile

from study.errors import TrackingError
from study.layout import Layout, StudyLayout
from tracking.record.outbox import Line, Position, count_lines, load_position, read_lines, save_position
from tracking.record.progress import fold
from tracking.sending.manners import Manners
from tracking.sending.mirror import Mirror
from tracking.server.door import Door, LostError
from tracking.uri import artifact_location, mask_uri

_log = logging.getLogger("tracking")
# The largest holds 1000 points, MLflow's limit for a request, of each of a hundred trials. Where requests fail now and
# then, too many in a chunk would never all come through: it shrinks, in the end to one event.
_LARGEST_CHUNK_BYTES = 4 << 20


class BusyError(TrackingError):
    """Another process sends this outbox."""


class Drain:
    """The reading end of one study's outbox; opened at its first use, which takes seconds."""

    def __init__(self, study: StudyLayout, tracking_uri: str) -> None:
        self._study = study
        self._uri = tracking_uri
        self._masked = mask_uri(tracking_uri)
        self._lock: int | None = None
        self._door: Door | None = None
        self._mirror: Mirror | None = None
        self._position = Position(self._masked)
        self._chunk_bytes = _LARGEST_CHUNK_BYTES
        self.sent = 0
        """How many events were acknowledged so far, in runs that then failed too."""

    def run(self, is_over: Callable[[], bool] = lambda: False, manners: Manners | None = None) -> int:
        """Send everything that is there and not acknowledged, and return the number of events sent.

        Args:
            is_over: Whether to leave it at what is acknowledged.
            manners: How to treat the server; at full speed if nothing is said.

        Raises:
            TrackingError: the server is away, or another process sends this outbox; run again later.
        """
        sent, begun_again, mirror, known = 0, False, self._ready(), self.sent
        manners = manners or Manners(self._masked)
        end = self._study.outbox.stat().st_size
        while not is_over() and self._position.offset < end and (lines := self._chunk()):
            try:
                mirror.apply(lines, manners)
            except LostError as exc:
                if begun_again:
                    self.sent = known  # over and over the same is no progress
                    raise
                mirror, begun_again = self._begin_again(exc), True
                continue
            except TrackingError:
                self._chunk_bytes = max((lines[-1].end - self._position.offset) // 8, 1)
                raise
            self._acknowledge(lines[-1])
            self._chunk_bytes = min(self._chunk_bytes * 2, _LARGEST_CHUNK_BYTES)
            sent += len(lines)
            self.sent += len(lines)
        return sent

    def rewind(self) -> None:
        """Take everything as not acknowledged; sending it again changes nothing that is there.

        Raises:
            TrackingError: another process sends this outbox.
        """
        self._acquire()
        self._mirror = None
        save_position(self._study.outbox_position, Position(self._masked))

    def pending(self) -> int:
        """Return how many events are not acknowledged; an outbox nobody opened yet is read from its last position."""
        position = self._position if self._mirror else self._load_position()
        return count_lines(self._study.outbox, position.offset)

    def close(self) -> None:
        """Let another process send."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _ready(self) -> Mirror:
        self._acquire()
        if self._door is None:
            self._door = Door(self._uri)
        if self._mirror is None:
            self._position = self._load_position()
            mirror = self._make_mirror(self._door)
            if not mirror.is_known():
                return self._begin_again(LostError(f"MLflow at {self._masked} does not know the study's run"))
            self._mirror = mirror
        return self._mirror

    def _acquire(self) -> None:
        if self._lock is not None:
            return
        try:
            handle = os.open(self._study.outbox, os.O_RDONLY | os.O_CREAT, 0o644)
        except OSError as exc:
            raise TrackingError(f"{self._study.outbox} must be readable, but: {exc.strerror or exc}") from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise BusyError(
                f"One process at a time sends {self._study.outbox}, and another one is doing so; wait for it to end"
            ) from exc
        self._lock = handle

    def _load_position(self) -> Position:
        return load_position(self._study.outbox_position, self._masked, self._study.outbox)

    def _make_mirror(self, door: Door) -> Mirror:
        offset = self._position.offset
        prefix = takewhile(lambda line: line.end <= offset, read_lines(self._study.outbox, reports=False))
        return Mirror(door, self._study, self._masked, self._locate, fold(prefix))

    def _locate(self, study: str) -> str | None:
        return artifact_location(self._uri, study, Layout(self._study.root.parents[1]))

    def _begin_again(self, exc: LostError) -> Mirror:
        if self._position.offset == 0:
            raise TrackingError(str(exc)) from exc
        _log.warning("%s; everything is sent again", exc)
        self._position = Position(self._masked)
        save_position(self._study.outbox_position, self._position)
        assert self._door is not None
        self._mirror = self._make_mirror(self._door)
        return self._mirror

    def _chunk(self) -> list[Line]:
        """Return the next events, on disk for good before anything of them is sent."""
        begin, lines = self._position.offset, []
        for line in read_lines(self._study.outbox, begin):
            lines.append(line)
            if line.end - begin >= self._chunk_bytes:
                break
        if lines:
            assert self._lock is not None
            os.fsync(self._lock)
        return lines

    def _acknowledge(self, last: Line) -> None:
        self._position = Position(self._masked, last.number, last.end)
        if self._study.outbox.exists():  # a study that somebody deletes meanwhile must not come back as a folder
            save_position(self._study.outbox_position, self._position)
