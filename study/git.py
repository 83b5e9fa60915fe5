"""Ask git about a folder, without waiting long and without fail."""

from __future__ import annotations

import subprocess
from pathlib import Path

TIMEOUT_S = 5.0


def ask_git(folder: Path | None, *arguments: str) -> str | None:
    """Return what git says, None where there is no git, no repository or no answer in time.

    Args:
        folder: where to ask; None for the current one.
        arguments: after ``git``.
    """
    try:
        done = subprocess.run(
            ("git", *arguments),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
