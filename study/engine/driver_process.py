"""Standard output and signals of the driver process: libraries' output goes to a log, signals stop the run."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study.errors import EngineError
from study.utils.streams import PlainText, open_output

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class OutputRedirect:
    """The terminal's streams before their file descriptors were redirected."""

    out: PlainText
    err: PlainText


@contextmanager
def quiet_output(log: Path) -> Iterator[OutputRedirect]:
    """Redirect the process's standard output and error into ``log``; yield the original streams.

    The file descriptors themselves are redirected, because Ray's C++ code writes to them directly.

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
        # The study goes on when its terminal or pipe is gone; its log and its storage have everything.
        streams = zip(saved, (sys.stdout, sys.stderr), strict=True)
        out, err = (open_output(number, stream.encoding, lambda error: None) for number, stream in streams)
        try:
            yield OutputRedirect(out, err)
        finally:
            for stream in (sys.stdout, sys.stderr, out, err):
                stream.flush()
            for number, old in zip((1, 2), saved, strict=True):
                os.dup2(old, number)
                os.close(old)


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


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ray replaces the handler of SIGTERM and Tune that of SIGUSR1 without restoring them.
_REPLACED = (*_STOPPING, signal.SIGUSR1)
SAME_SIGNAL_S = 0.3
"""Within this time a signal is the one before once more: a batch system or a shell may send it to every process."""


@contextmanager
def preserve_handlers() -> Iterator[None]:
    """Restore the signal handlers at the end; only the main thread can, and only there are they replaced."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _REPLACED}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def quit_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP as on Ctrl-C, so that everything is shut down in order."""
    _install(signal.default_int_handler)


@contextmanager
def stop_on_signals(stop: Callable[[], bool]) -> Iterator[None]:
    """Call ``stop`` at each signal; raise KeyboardInterrupt if it returns that it was called before.

    ``stop`` may run between any two instructions, so it must only set a flag.
    """
    stopped_at_s = -math.inf

    def handle(signum: int, frame: object) -> None:
        nonlocal stopped_at_s
        before_s, stopped_at_s = stopped_at_s, time.monotonic()
        if stopped_at_s - before_s > SAME_SIGNAL_S and stop():
            raise KeyboardInterrupt

    with preserve_handlers():
        _install(handle)
        yield


def _install(handler: Callable[..., object]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, handler)
