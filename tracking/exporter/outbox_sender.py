"""Read the outbox and export it to MLflow, by one process at a time."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from itertools import takewhile

from study.errors import TrackingError
from study.files import refuse_links
from study.paths import Layout, StudyLayout
from tracking.client.client import TrackingClient, load_mlflow
from tracking.client.errors import DeniedError, LostError, RateLimitedError
from tracking.exporter.run_writer import RunExporter
from tracking.moved_database import mend_locations
from tracking.outbox.outbox import Line, Position, count_lines, load_position, read_lines, save_position
from tracking.outbox.study_state import fold
from tracking.tracking_uri import artifact_location, mask_uri, sqlite_path

_log = logging.getLogger("tracking")
# The largest holds 1000 points, MLflow's limit for a request, of each of a hundred trials. Where requests fail now and
# then, too many in a chunk would never all come through: it shrinks, in the end to one event.
_LARGEST_CHUNK_BYTES = 4 << 20


class BusyError(TrackingError):
    """Another process exports this outbox."""


class OutboxReader:
    """Reads one study's outbox and exports it; opened at its first use, which takes seconds."""

    def __init__(self, study: StudyLayout, tracking_uri: str) -> None:
        self.study = study
        self._uri = tracking_uri
        self._masked = mask_uri(tracking_uri)
        self._lock: int | None = None
        self._client: TrackingClient | None = None
        self._exporter: RunExporter | None = None
        self._position = Position(self._masked)
        self._chunk_bytes = _LARGEST_CHUNK_BYTES
        self.sent = 0
        """How many events were acknowledged so far, in runs that then failed too."""

    def run(self, is_cancelled: Callable[[], bool] = lambda: False) -> int:
        """Send everything that is there and not acknowledged, or until cancelled; return the number of events sent.

        Raises:
            TrackingError: the server is away, or another process sends this outbox; run again later.
        """
        sent, restarted, exporter, known = 0, False, self._ready(), self.sent
        end = self.study.outbox.stat().st_size
        while not is_cancelled() and self._position.offset < end and (lines := self._chunk()):
            try:
                exporter.export(lines)
            except LostError as exc:
                if restarted:
                    self.sent = known  # over and over the same is no progress
                    raise
                exporter, restarted = self._restart(exc), True
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
        """Mark everything as not acknowledged; sending it again changes nothing that is there.

        Raises:
            TrackingError: another process sends this outbox.
        """
        self._acquire()
        self._exporter = None
        save_position(self.study.outbox_position, Position(self._masked))

    def pending(self) -> int:
        """Return how many events are not acknowledged; an outbox nobody opened yet is read from its last position."""
        position = self._position if self._exporter else self._load_position()
        return count_lines(self.study.outbox, position.offset)

    @property
    def answers(self) -> int:
        """How many requests the server has answered."""
        return 0 if self._client is None else self._client.answers

    def close(self) -> None:
        """Release the outbox to other processes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _ready(self) -> RunExporter:
        self._acquire()
        if self._client is None:
            mend_locations(self._uri)
            self._client = TrackingClient(self._uri)
        if self._exporter is None:
            self._position = self._load_position()
            exporter = self._make_exporter(self._client)
            if not exporter.is_known():
                return self._restart(LostError(f"MLflow at {self._masked} does not know the study's run"))
            self._exporter = exporter
        return self._exporter

    def _acquire(self) -> None:
        if self._lock is not None:
            return
        try:
            refuse_links(self.study.root, self.study.results)
            handle = os.open(self.study.outbox, os.O_RDONLY | os.O_CREAT, 0o644)
        except OSError as exc:
            raise TrackingError(f"{self.study.outbox} must be readable, but: {exc.strerror or exc}") from exc
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise BusyError(
                f"One process at a time sends {self.study.outbox}, and another one is doing so; wait for it to end"
            ) from exc
        self._lock = handle

    def _load_position(self) -> Position:
        return load_position(self.study.outbox_position, self._masked, self.study.outbox)

    def _make_exporter(self, client: TrackingClient) -> RunExporter:
        offset = self._position.offset
        prefix = takewhile(lambda line: line.end <= offset, read_lines(self.study.outbox, reports=False))
        return RunExporter(client, self.study, self._masked, self._locate, fold(prefix))

    def _locate(self, study: str) -> str | None:
        return artifact_location(self._uri, study, Layout(self.study.root.parents[1]))

    def _restart(self, exc: LostError) -> RunExporter:
        if self._position.offset == 0:
            raise TrackingError(str(exc)) from exc
        _log.warning("%s; everything is sent again", exc)
        self._position = Position(self._masked)
        save_position(self.study.outbox_position, self._position)
        assert self._client is not None
        self._exporter = self._make_exporter(self._client)
        return self._exporter

    def _chunk(self) -> list[Line]:
        """Return the next events, on disk for good before anything of them is sent."""
        begin, lines = self._position.offset, []
        for line in read_lines(self.study.outbox, begin):
            lines.append(line)
            if line.end - begin >= self._chunk_bytes:
                break
        if lines:
            assert self._lock is not None
            os.fsync(self._lock)
        return lines

    def _acknowledge(self, last: Line) -> None:
        self._position = Position(self._masked, last.number, last.end)
        if self.study.outbox.exists():  # a study that somebody deletes meanwhile must not come back as a folder
            save_position(self.study.outbox_position, self._position)


_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
_DENIED_BACKOFF_S = 600.0
_FAILURES_BEFORE_WARNING = 2
_LAST_ATTEMPTS = 3  # of sending the last events
LONGEST_CLOSE_S = 60.0
"""How long the last events are sent to a server that answers."""
_SILENT_S = 3.0
_SAY_EVERY_S = 10.0
_POLL_S = 0.1
_MIN_PAUSE_S = 0.2
_MAX_PAUSE_S = 10.0
_PAUSE_PER_SENDING = 10  # a server beside the trials then takes about a tenth of one processor from them


class ExporterThread:
    """Exports the outbox whenever it is woken; memory is bounded because the queue is the file."""

    def __init__(self, reader: OutboxReader, where: str, *, known_away: bool = False) -> None:
        self._reader = reader
        self._where = where
        self._last_attempts = 0
        self._ready = threading.Event()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._failures = 0
        self._busy = False
        self._denied = False
        self._retry_after_s = 0.0
        self._spent_s = 0.0
        self._warned = known_away
        self._thread = threading.Thread(target=self._work, name="tracking-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Announce that the outbox has grown; returns at once."""
        self._wake.set()

    def close(self, timeout_s: float) -> bool:
        """Send what is left and return whether everything was sent; say what it waits for.

        It gives up when the server has answered nothing for ``timeout_s``, at the latest after ``LONGEST_CLOSE_S``.
        """
        self._closing.set()
        self._wake.set()
        began = since = time.monotonic()
        said, answers = began + _SILENT_S - _SAY_EVERY_S, self._reader.answers
        try:
            while self._thread.is_alive():
                now = time.monotonic()
                if (latest := self._reader.answers) != answers or not self._ready.is_set():
                    answers, since = latest, now
                left_s = min(since + timeout_s, began + max(timeout_s, LONGEST_CLOSE_S)) - now
                if left_s <= 0:
                    break
                if now - said >= _SAY_EVERY_S:
                    said = now
                    self._say_what_is_left(left_s)
                self._thread.join(min(left_s, _POLL_S))
        finally:
            self._abandoned.set()
        return not self._thread.is_alive() and self._failures == 0

    def _work(self) -> None:
        try:
            load_mlflow()
            if sqlite_path(self._where) is None:
                self._ready.set()
            while True:
                # Counted before draining: events that arrive with the closing are then not missed.
                self._last_attempts += self._closing.is_set()
                if self._attempt():
                    self._last_attempts = 0
                self._ready.set()  # a new database in a file, which is made for seconds, is there
                is_last = self._last_attempts >= (1 if not self._failures or self._denied else _LAST_ATTEMPTS)
                if self._abandoned.is_set() or (is_last and not self._busy):
                    return
                self._pause()
        except Exception:
            self._failures += 1
            _log.exception("the tracker stopped on a bug; the events stay in the outbox")
        finally:
            self._reader.close()

    def _attempt(self) -> bool:
        """Export what is there; return whether that failed but sent something."""
        self._wake.clear()
        began, sent = time.monotonic(), self._reader.sent
        self._busy, self._denied, self._retry_after_s = False, False, 0.0
        try:
            self._reader.run(self._abandoned.is_set)
        except BusyError:  # the exporter of a driver that was killed ends soon
            self._failures, self._busy = 1, True
        except (TrackingError, OSError) as exc:  # a full disk here is an outage too
            self._failures = 1 if self._reader.sent > sent else self._failures + 1
            self._denied = isinstance(exc, DeniedError)
            self._retry_after_s = exc.wait_s if isinstance(exc, RateLimitedError) else 0.0
            self._warn_of_outage(exc)
        else:
            self._failures = 0
            self._report_recovery()
        self._spent_s = time.monotonic() - began
        return bool(self._failures) and self._reader.sent > sent

    def _pause(self) -> None:
        """Wait for events and let more gather; after a failure back off, at least as long as the server asks."""
        if self._denied:
            self._closing.wait(_DENIED_BACKOFF_S)  # the credentials of a process do not change, those it needs may
        elif self._failures:
            failures = self._last_attempts or self._failures
            backoff = max(min(_FIRST_BACKOFF_S * 2 ** (failures - 1), _LAST_BACKOFF_S), self._retry_after_s)
            (self._abandoned if self._closing.is_set() else self._closing).wait(backoff)
        elif not self._closing.is_set():  # close() may have set _wake before this wait began
            self._wake.wait()
            self._closing.wait(min(max(_MIN_PAUSE_S, _PAUSE_PER_SENDING * self._spent_s), _MAX_PAUSE_S))

    def _say_what_is_left(self, left_s: float) -> None:
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + left_s))
        _log.warning(
            "waiting for MLflow at %s to take the last %d events, until %s if it does not answer; Ctrl-C leaves, and "
            "`%s` sends the rest later",
            self._where, self._reader.pending(), until, self._reader.study.command("sync"),
        )  # fmt: skip

    def _warn_of_outage(self, exc: Exception) -> None:
        if not self._warned and (self._denied or self._failures >= _FAILURES_BEFORE_WARNING):
            self._warned = True
            state = "does not let us in" if self._denied else "is away"
            _log.warning("MLflow at %s %s; the study goes on and its events wait on disk: %s", self._where, state, exc)

    def _report_recovery(self) -> None:
        if self._warned and not self._abandoned.is_set():
            self._warned = False
            _log.warning("MLflow at %s is back; everything that waited was sent", self._where)
