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


def call_each(call: Callable[[_Item], object], items: Iterable[_Item], at_once: int = AT_ONCE) -> None:
    """Call for every item, for so many at once; after an error or Ctrl-C no further call begins.

    Nobody waits for calls under way once the caller is interrupted, nor at the end of the process.

    Raises:
        Exception: of the calls that failed the error of the first.
    """
    things = list(items)
    if at_once == 1 or len(things) < 2:
        for one in things:
            call(one)
        return
    waiting, over, faults = deque(enumerate(things)), threading.Event(), list[tuple[int, Exception]]()

    def work() -> None:
        with suppress(IndexError):
            while not over.is_set():
                place, one = waiting.popleft()
                if fault := _fault_of(call, one):
                    faults.append((place, fault))
                    over.set()
                fault = None  # its traceback leads here, and would keep its connection open

    threads = [threading.Thread(target=work, name="tracking-send", daemon=True) for _ in things[:at_once]]
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
