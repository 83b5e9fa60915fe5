"""Say how long a tracking server is left in peace, lest one on the machine of the trials take their time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from study.listening import is_loopback
from tracking.sending.side_by_side import AT_ONCE

_LINGER_S = 0.2
_AT_ONCE_HERE = 2
_LONGEST_REST_S = 2.0
_BUSY = 0.9
_LONGEST_WAIT_S = 30.0
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
    """Rests after each time of sending: as long as that took, much longer where it took the trials' time."""

    def __init__(self, tracking_uri: str, clock: Callable[[], tuple[float, float]] = machine_clock) -> None:
        parts = urlsplit(tracking_uri)
        # A database that is a file is written by the sender itself, which has the lowest priority.
        self._is_here = parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
        self._clock = clock
        self._before = clock()

    def at_once(self, *, closing: bool) -> int:
        """Return how many requests may be on their way; where trials run beside the server one, until they ended.

        Then two for a server on this machine: more only wait for each other where it keeps its runs in sqlite.
        """
        if not self._is_here:
            return AT_ONCE
        return _AT_ONCE_HERE if closing else 1

    def rest_s(self, spent_s: float) -> float:
        """Return how long to wait after so long a time of sending."""
        usual_s = max(_LINGER_S, min(spent_s, _LONGEST_REST_S))
        if not self._is_here or self._busy_share() < _BUSY:
            return usual_s
        return max(usual_s, min(_TIMES_AS_LONG * spent_s, _LONGEST_WAIT_S))

    def _busy_share(self) -> float:
        """Return how busy the machine was since the last look, in [0, 1]."""
        before, self._before = self._before, self._clock()
        busy, free = (now - then for now, then in zip(self._before, before, strict=True))
        return busy / (busy + free) if busy + free else 0.0
