"""Make several calls at the same time; what a server takes for each is mostly waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Final, TypeVar

AT_ONCE: Final = 4
"""As many as `mlflow server` has workers."""
_Item = TypeVar("_Item")


def call_each(call: Callable[[_Item], object], items: Iterable[_Item], at_once: int = AT_ONCE) -> None:
    """Call for every item, for so many at once; after an error no further call begins.

    Raises:
        Exception: of the calls that failed the error of the first.
    """
    things = list(items)
    if at_once == 1 or len(things) < 2:
        for one in things:
            call(one)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="tracking-send") as threads:
        calls = [threads.submit(call, one) for one in things]
        for waiting in wait(calls, return_when=FIRST_EXCEPTION).not_done:
            waiting.cancel()
    for begun in calls:
        if not begun.cancelled():
            begun.result()
