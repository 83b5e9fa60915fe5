"""Send the outbox from one background thread that never disturbs the engine."""

from __future__ import annotations

import logging
import threading

from study.errors import TrackingError
from tracking.drain import Drain

_log = logging.getLogger("tracking")
_LINGER_S = 0.2
_FIRST_BACKOFF_S = 0.5
_LAST_BACKOFF_S = 30.0
_FAILURES_BEFORE_WORD = 2


class Writer:
    """Drains the outbox whenever it is woken; memory is bounded because the queue is the file."""

    def __init__(self, drain: Drain, where: str) -> None:
        self._drain = drain
        self._where = where
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._abandoned = threading.Event()
        self._failures = 0
        self._told = False
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
        try:
            while True:
                # Read before draining: events that arrive with the closing are then not missed.
                last = self._closing.is_set()
                self._attempt()
                if last or self._abandoned.is_set():
                    return
                self._pause()
        except Exception:
            self._failures += 1
            _log.exception("the tracker stopped on a bug; the events stay in the outbox")
        finally:
            self._drain.close()

    def _attempt(self) -> None:
        self._wake.clear()
        try:
            self._drain.run(self._abandoned.is_set)
        except (TrackingError, OSError) as exc:  # a full disk here is an outage too
            self._failures += 1
            self._tell_away(exc)
        else:
            self._failures = 0
            self._tell_back()

    def _pause(self) -> None:
        """Wait for events and let a few gather; after a failure wait longer each time."""
        if self._failures:
            backoff = min(_FIRST_BACKOFF_S * 2 ** (self._failures - 1), _LAST_BACKOFF_S)
            self._closing.wait(backoff)
        else:
            self._wake.wait()
            self._closing.wait(_LINGER_S)

    def _tell_away(self, exc: Exception) -> None:
        if not self._told and self._failures >= _FAILURES_BEFORE_WORD:
            self._told = True
            _log.warning("MLflow at %s is away; the study goes on and its events wait on disk: %s", self._where, exc)

    def _tell_back(self) -> None:
        if self._told:
            self._told = False
            _log.warning("MLflow at %s is back; everything that waited was sent", self._where)
