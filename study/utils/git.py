"""Ask git about a folder, without waiting long and without fail."""

from __future__ import annotations

import subprocess
from pathlib import Path
from threading import Event, Timer

TIMEOUT_S = 5.0


def run_git(folder: Path | None, *arguments: str) -> str | None:
    """Return what git says, None where there is no git, no repository or no answer in time.

    Args:
        folder: where to ask; None for the current one.
        arguments: after ``git``.
    """
    said = run_git_streamed(folder, *arguments)
    return None if said is None else said.decode(errors="replace").strip()


def run_git_streamed(folder: Path | None, *arguments: str, most_bytes: int | None = None) -> bytes | None:
    """Return what git says byte by byte, of a long answer the first ``most_bytes``; None as ``run_git`` does."""
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
        said = process.stdout.read(-1 if most_bytes is None else most_bytes)
        is_cut = most_bytes is not None and len(said) == most_bytes
        if is_cut:
            process.kill()
        process.wait()
    finally:
        timer.cancel()
    return said if not late.is_set() and (is_cut or process.returncode == 0) else None
