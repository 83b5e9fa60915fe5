"""Let Ray's workers be forked from a process that has imported torch, instead of importing it each for itself."""

from __future__ import annotations

import multiprocessing.spawn  # noqa: F401  # keeps sys.executable of when it is imported
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig  # noqa: F401  # likewise
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from study.engine.ray.fork_server import PYTHON

SWITCH = "STUDY_FORKED_WORKERS"
"""Environment variable; 0 lets each worker import for itself."""
WORKER_SCRIPT = "default_worker.py"
"""Ray's script for workers, the first argument of the command that starts one."""
BACKLOG = 256
END_TIMEOUT_S = 5.0


@contextmanager
def fork_server(folder: Path) -> Iterator[str]:
    """Run a fork server during the block; yield a Python that has Ray's workers forked by it, for ``launching_python``.

    Whatever else that Python is given, it runs as usual; a worker too if the server is gone or does not answer.

    Args:
        folder: where a folder of this user's alone is made for the server's socket.

    Yields:
        The usual Python where nothing can be forked.
    """
    private = None
    if sys.platform == "linux" and os.environ.get(SWITCH) != "0":
        with suppress(OSError):
            private = Path(tempfile.mkdtemp(prefix=".study-fork-", dir=folder))
    if private is None:
        yield sys.executable
        return
    process = None
    try:
        with suppress(OSError):
            process = _start(private / "socket")
        python = _write_python(private) if process else None
        yield sys.executable if python is None else str(python)
    finally:
        if process:
            _end(process)
        shutil.rmtree(private, ignore_errors=True)


@contextmanager
def launching_python(python: str) -> Iterator[None]:
    """Have Ray start its processes with ``python`` during the block; it takes what ``sys.executable`` names."""
    usual = sys.executable
    sys.executable = python
    try:
        yield
    finally:
        sys.executable = usual


def _start(address: Path) -> subprocess.Popen[bytes]:
    """Start the server; whoever connects before it has imported everything waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(address))
        listener.listen(BACKLOG)
        command = [sys.executable, "-m", "study.engine.ray.fork_server", str(listener.fileno()), "0"]
        # A group of its own, so that Ctrl-C in a terminal reaches the driver alone.
        return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], process_group=0)


def _write_python(private: Path) -> Path | None:
    """Write the Python that has workers forked; None where the system runs no file of that folder."""
    usual, launcher = shlex.quote(sys.executable), shlex.quote(str(Path(__file__).with_name("worker_launcher.py")))
    python = private / PYTHON
    python.write_text(
        f"""#!/bin/sh
case $1 in
  */{WORKER_SCRIPT}) exec {usual} -I -S {launcher} {shlex.quote(str(private / "socket"))} {usual} "$@" ;;
esac
exec {usual} "$@"
"""
    )
    python.chmod(0o700)
    return python if os.access(python, os.X_OK) else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server, which kills the workers that are left."""
    process.terminate()  # while it imports; later it waits for the end of its input
    with process:
        try:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
