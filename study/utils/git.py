"""Run git with a time limit; returns None instead of raising an error."""

from __future__ import annotations

import subprocess
from pathlib import Path
from threading import Event, Timer

TIMEOUT_S = 5.0


def run_git(folder: Path | None, *arguments: str) -> str | None:
    """Return git's output, None if there is no git, no repository or no answer in time.

    Args:
        folder: where to run it; None for the current folder.
        arguments: what follows ``git``.
    """
    output = run_git_streamed(folder, *arguments)
    return None if output is None else output.decode(errors="replace").strip()


def run_git_streamed(folder: Path | None, *arguments: str, most_bytes: int | None = None) -> bytes | None:
    """Return git's output as bytes, at most the first ``most_bytes``; None as ``run_git`` does."""
    try:
        with subprocess.Popen(
            ("git", *arguments),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            return _first_bytes(process, most_bytes)
    except OSError:
        return None


def _first_bytes(process: subprocess.Popen[bytes], most_bytes: int | None) -> bytes | None:
    assert process.stdout is not None
    late = Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = Timer(TIMEOUT_S, give_up)
    timer.start()
    try:
        output = process.stdout.read(-1 if most_bytes is None else most_bytes)
        is_cut = most_bytes is not None and len(output) == most_bytes
        if is_cut:
            process.kill()
        process.wait()
    finally:
        timer.cancel()
    return output if not late.is_set() and (is_cut or process.returncode == 0) else None
