"""Run a command until it ends or the process that started this one is gone: `python -m tracking.ui.supervisor ...`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

_POLL_S = 1.0
_STOP_TIMEOUT_S = 10.0


def main(parent: str, *command: str) -> int:
    """Run a command in this process's group and return its exit status; it ends when the process ``parent`` does."""
    # A handler, not SIG_IGN, which the command would inherit: the group's SIGTERM ends the command, then this process.
    signal.signal(signal.SIGTERM, lambda *_: None)
    process = subprocess.Popen(command)
    while os.getppid() == int(parent):
        try:
            return _exit_status(process.wait(_POLL_S))
        except subprocess.TimeoutExpired:
            continue
    os.killpg(0, signal.SIGTERM)
    try:
        return _exit_status(process.wait(_STOP_TIMEOUT_S))
    finally:
        os.killpg(0, signal.SIGKILL)


def _exit_status(status: int) -> int:
    return status if status >= 0 else 128 - status  # as a shell gives it


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
