"""Make several calls at the same time; what a server takes for each is mostly waiting."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

AT_ONCE: Final = 4
"""As many as `mlflow server` has workers."""
_Item = TypeVar("_Item")


def call_each(call: Callable[[_Item], object], items: Iterable[_Item], at_once: Callable[[], int]) -> None:
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
