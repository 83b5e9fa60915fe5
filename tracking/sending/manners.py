"""Say how much is sent at the same time and when to rest, lest a server beside the trials take their time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from study.listening import is_loopback
from tracking.sending.side_by_side import AT_ONCE

_LINGER_S = 0.2
_LONGEST_LINGER_S = 2.0
_BUSY = 0.9
_LOOK_EVERY_S = 0.25
_LONGEST_REST_S = 30.0
_TIMES_AS_LONG = 19
_STAT = Path("/proc/stat")


def machine_clock() -> tuple[float, float]:
    """Return how long this machine's processors were busy and how long not, in any unit; zeros where nobody knows."""
    try:
        user, nice, system, idle, waiting, *interrupts = map(int, _STAT.read_text().partition("\n")[0].split()[1:9])
    except (OSError, ValueError):
        return 0.0, 0.0
    return user + nice + system + sum(interrupts), idle + waiting


class Manners:
    """How to send to one place; at full speed where nobody says when trials have ended, or somebody says they have.

    Args:
        tracking_uri: The place; secrets are not needed.
        ended: Set once the trials of this machine have ended.
        clock: Like ``machine_clock``.
        time_s: Like ``time.monotonic``.
    """

    def __init__(
        self,
        tracking_uri: str,
        ended: threading.Event | None = None,
        clock: Callable[[], tuple[float, float]] = machine_clock,
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(tracking_uri)
        self._is_server = parts.scheme in ("http", "https")
        # A database that is a file is written by the sender itself, which has the lowest priority.
        self._is_beside = self._is_server and is_loopback(parts.hostname or "") and ended is not None
        self._ended = ended or threading.Event()
        self._clock = clock
        self._time_s = time_s
        self._before = clock()
        self._looked_at_s = time_s()
        self._busy = False

    def at_once(self) -> int:
        """Return how many runs may be told of at the same time: one while trials run beside the server."""
        return AT_ONCE if self._is_server and not self._minds() else 1

    def linger_s(self, spent_s: float) -> float:
        """Return how long to let events gather after so long a time of sending."""
        return max(_LINGER_S, min(spent_s, _LONGEST_LINGER_S))

    def rest(self, spent_s: float) -> None:
        """Wait until trials had most of the time since a call that took so long, if they are short of it."""
        if self._minds() and self._is_busy():
            self._ended.wait(min(_TIMES_AS_LONG * spent_s, _LONGEST_REST_S))

    def _minds(self) -> bool:
        return self._is_beside and not self._ended.is_set()

    def _is_busy(self) -> bool:
        """Return whether hardly any of the machine's time was left over lately; a short while says nothing."""
        if (now_s := self._time_s()) - self._looked_at_s >= _LOOK_EVERY_S:
            before, self._before, self._looked_at_s = self._before, self._clock(), now_s
            busy, free = (now - then for now, then in zip(self._before, before, strict=True))
            self._busy = busy >= _BUSY * (busy + free) and busy > 0
        return self._busy
