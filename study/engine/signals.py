"""Answer Ctrl-C and SIGTERM: once to stop cleanly, twice to quit; the handlers before are put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Ray takes over SIGTERM and Tune SIGUSR1 without giving them back.
_TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put all signal handlers back at the end; only a main thread can, and only there are they changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.getsignal(one) for one in _TAKEN}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def quit_on_signals() -> None:
    """Take SIGTERM like Ctrl-C: a KeyboardInterrupt, so that everything is taken down in order."""
    _install(signal.default_int_handler)


@contextmanager
def stop_on_signals(stop: Callable[[], bool]) -> Iterator[None]:
    """Call ``stop`` at the first signal; when it says that it was called before, raise KeyboardInterrupt.

    ``stop`` may run between any two instructions, so it must only set a flag.
    """

    def handle(signum: int, frame: object) -> None:
        if stop():
            raise KeyboardInterrupt

    with handlers_kept():
        _install(handle)
        yield


def _install(handler: Callable[..., object]) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, handler)
