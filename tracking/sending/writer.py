"""Send the outbox from one background thread that never disturbs the engine."""

from __future__ import annotations

import logging
import threading
import time

from study.errors import TrackingError
from tracking.sending.drain import BusyError, Drain
from tracking.sending.manners import Manners
from tracking.server.faults import DeniedError, RateLimitedError

_log = logging.getLogger("tracking")
_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
_DENIED_BACKOFF_S = 600.0
_FAILURES_BEFORE_WORD = 2
_LAST_ATTEMPTS = 3  # where a server that is asked to take the last events refuses


class Writer:
    """Drains the outbox whenever it is woken; memory is bounded because the queue is the file."""

    def __init__(self, drain: Drain, where: str, *, known_away: bool = False) -> None:
        self._drain = drain
        self._where = where
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._manners = Manners(where, self._closing)
        self._abandoned = threading.Event()
        self._failures = 0
        self._busy = False
        self._denied = False
        self._asked_s = 0.0
        self._spent_s = 0.0
        self._told = known_away
        self._thread = threading.Thread(target=self._work, name="tracking-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the outbox has grown; returns at once."""
        self._wake.set()

    def close(self, timeout_s: float) -> bool:
        """Send what is left, within a time, and return whether everything was sent."""
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        self._abandoned.set()
        return not self._thread.is_alive() and self._failures == 0

    def _work(self) -> None:
        last_attempts = 0
        try:
            while True:
                # Counted before draining: events that arrive with the closing are then not missed.
                last_attempts += self._closing.is_set()
                if self._attempt():
                    last_attempts = 0
                is_last = last_attempts >= (1 if not self._failures or self._denied else _LAST_ATTEMPTS)
                if self._abandoned.is_set() or (is_last and not self._busy):
                    return
                self._pause()
        except Exception:
            self._failures += 1
            _log.exception("the tracker stopped on a bug; the events stay in the outbox")
        finally:
            self._drain.close()

    def _attempt(self) -> bool:
        """Drain; return whether that failed but got on."""
        self._wake.clear()
        began, sent = time.monotonic(), self._drain.sent
        self._busy, self._denied, self._asked_s = False, False, 0.0
        try:
            self._drain.run(self._abandoned.is_set, self._manners)
        except BusyError:  # whoever sends for a driver that was killed ends soon
            self._failures, self._busy = 1, True
        except (TrackingError, OSError) as exc:  # a full disk here is an outage too
            self._failures = 1 if self._drain.sent > sent else self._failures + 1
            self._denied = isinstance(exc, DeniedError)
            self._asked_s = exc.wait_s if isinstance(exc, RateLimitedError) else 0.0
            self._tell_away(exc)
        else:
            self._failures = 0
            self._tell_back()
        self._spent_s = time.monotonic() - began
        return bool(self._failures) and self._drain.sent > sent

    def _pause(self) -> None:
        """Wait for events and let a few gather; after a failure wait longer each time, and as long as asked to."""
        if self._denied:
            self._closing.wait(_DENIED_BACKOFF_S)  # the credentials of a process do not change, those it needs may
        elif self._failures:
            backoff = max(min(_FIRST_BACKOFF_S * 2 ** (self._failures - 1), _LAST_BACKOFF_S), self._asked_s)
            (self._abandoned if self._closing.is_set() else self._closing).wait(backoff)
        elif not self._closing.is_set():  # what wakes for the closing may have been taken for what woke before
            self._wake.wait()
            self._closing.wait(self._manners.linger_s(self._spent_s))

    def _tell_away(self, exc: Exception) -> None:
        if not self._told and (self._denied or self._failures >= _FAILURES_BEFORE_WORD):
            self._told = True
            state = "does not let us in" if self._denied else "is away"
            _log.warning("MLflow at %s %s; the study goes on and its events wait on disk: %s", self._where, state, exc)

    def _tell_back(self) -> None:
        if self._told and not self._abandoned.is_set():
            self._told = False
            _log.warning("MLflow at %s is back; everything that waited was sent", self._where)
