"""Keep other people's chatter off the screen: everything that is not ours goes into a log file."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from study.errors import EngineError

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class OutputRedirect:
    """The terminal as it was before its file descriptors were taken away."""

    out: TextIO
    err: TextIO


@contextmanager
def quiet_output(log: Path) -> Iterator[OutputRedirect]:
    """Send the process's standard output and error into ``log``; yield the real ones.

    File descriptors are moved, not Python objects, since Ray's C++ parts write to them directly.

    Raises:
        EngineError: the log cannot be written.
    """
    _make_writable(log)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with log.open("ab") as file, _python_log(log):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        out, err = (os.fdopen(os.dup(one), "w", encoding="utf-8", errors="replace", buffering=1) for one in saved)
        try:
            yield OutputRedirect(out, err)
        finally:
            for stream in (sys.stdout, sys.stderr, out, err):
                stream.flush()
            for number, old in zip((1, 2), saved, strict=True):
                os.dup2(old, number)
                os.close(old)
            out.close()
            err.close()


def _make_writable(log: Path) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.open("ab").close()
    except OSError as error:
        raise EngineError(
            f"{log.parent} must be writable, but: {error.strerror or error}; --results DIR takes another folder"
        ) from error


@contextmanager
def _python_log(log: Path) -> Iterator[None]:
    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


# Ray takes over SIGTERM and Tune SIGUSR1 without giving them back.
_TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def preserve_handlers() -> Iterator[None]:
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

    with preserve_handlers():
        _install(handle)
        yield


def _install(handler: Callable[..., object]) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, handler)
