"""Run the driver of a study as a child of this process, which tells how to go on where the driver dies without a word.

Ray ends the process of its driver by itself when its node is lost, and a machine short of memory kills it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

_FORWARDED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1,
    signal.SIGUSR2,
)  # fmt: skip
_OF_THE_USER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals of which a driver that had not begun yet dies: there is nothing to tell."""
_DIES_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG
_GOODBYE = b"\0"
_SHOW_CURSOR = "\x1b[?25h"
_report: int | None = None
"""The child's end of the pipe to its supervisor."""


def supervise() -> None:
    """Go on in a child; this process waits for it, passes signals on and ends as it does.

    The child dies with this process. Does nothing on another system than Linux, nor in a process with other threads,
    which a child would lack.
    """
    global _report
    if not sys.platform.startswith("linux") or len(os.listdir("/proc/self/task")) > 1:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    watched = {number for number in _FORWARDED if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*watched, signal.SIGCHLD})
    supervisor = os.getpid()
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        _leave_like(_wait(child, watched), _read_all(reader))
    os.close(reader)
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before that
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _report = writer


def leave_last_words(text: str) -> None:
    """Have the supervisor print a text if this process dies without ``say_goodbye``; the last one counts."""
    _send(text.encode(errors="backslashreplace") + b"\n")


def say_goodbye() -> None:
    """Let the supervisor know that this process ends in order."""
    _send(_GOODBYE)


def _send(data: bytes) -> None:
    if _report is not None:
        with suppress(OSError):
            os.write(_report, data)


def _read_all(reader: int) -> bytes:
    """Return what the child left; a process that the child forked may still hold the other end open."""
    os.set_blocking(reader, False)
    left = b""
    with suppress(BlockingIOError):
        while part := os.read(reader, 1 << 16):
            left += part
    return left


def _wait(child: int, watched: set[signal.Signals]) -> int:
    """Pass signals on until the child ends; return its wait status."""
    while True:
        info = signal.sigwaitinfo({*watched, signal.SIGCHLD})
        if info.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            continue
        # A terminal's signals reach the child too, but its end reaches the leader of the session alone.
        if info.si_code <= 0 or info.si_signo == signal.SIGHUP:
            os.kill(child, info.si_signo)
        if info.si_signo == signal.SIGTSTP:
            _suspend()


def _suspend() -> None:
    """Stop as SIGTSTP does, so that a shell sees it; returns when it goes on."""
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _cause(number: int | None) -> str:
    if number is None:
        return "Ray ended the study's process, as it does when one of its own processes died or was killed"
    short = ", as the system does where memory is short" if number == signal.SIGKILL else ""
    return f"the study's process was killed by {signal.Signals(number).name}{short}"


def _leave_like(status: int, left: bytes) -> None:
    """End as the child did, after its last words if it died without a goodbye."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    words = left.rstrip(_GOODBYE).decode(errors="replace").splitlines()
    if words and not left.endswith(_GOODBYE):
        if sys.stdout.isatty():
            os.write(1, _SHOW_CURSOR.encode())  # the live view hid it
        print(f"error: {_cause(number)}; {words[-1]}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    if number in (signal.SIGKILL, *_OF_THE_USER):
        assert number is not None
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if number is None else 128 + number)
