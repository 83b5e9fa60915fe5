"""Say how much is sent at the same time and when to rest, lest a server beside the trials take their time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

from study.utils.network import is_loopback

AT_ONCE: Final = 4
"""As many as `mlflow server` has workers."""
_Item = TypeVar("_Item")


def run_concurrently(call: Callable[[_Item], object], items: Iterable[_Item], at_once: Callable[[], int]) -> None:
    """Call for every item, for so many at once as may be by then; after an error or Ctrl-C no further call begins.

    Nobody waits for calls under way once the caller is interrupted, nor at the end of the process.

    Raises:
        Exception: of the calls that failed the error of the first.
    """
    waiting, over, faults = deque(enumerate(items)), threading.Event(), list[tuple[int, Exception]]()
    while waiting and (len(waiting) == 1 or at_once() == 1):
        call(waiting.popleft()[1])

    def work() -> None:
        with suppress(IndexError):
            while not over.is_set():
                place, one = waiting.popleft()
                if fault := _fault_of(call, one):
                    faults.append((place, fault))
                    over.set()
                fault = None  # its traceback leads here, and would keep its connection open

    count = min(at_once(), len(waiting))
    threads = [threading.Thread(target=work, name="tracking-send", daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        over.set()
        raise
    if faults:
        first = min(faults, key=lambda fault: fault[0])[1]
        faults.clear()
        try:
            raise first
        finally:
            del first


def _fault_of(call: Callable[[_Item], object], one: _Item) -> Exception | None:
    try:
        call(one)
    except Exception as exc:
        return exc
    return None


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


class Throttle:
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
