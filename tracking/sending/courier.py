"""Keep a process at work that sends the outbox, so that MLflow takes neither time nor memory of the driver."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from study.layout import StudyLayout
from tracking.sending.sender import ALL_SENT, LEFT_OVER

_log = logging.getLogger("tracking")
_ROOT = Path(__file__).resolve().parents[2]
# -P: a folder of the user's that is called tracking, too, is not meant.
_COMMAND = (sys.executable, "-P", "-m", "tracking.sending.sender")
_GRACE_S = 5.0
_PAUSES_S = (1.0, 10.0, 60.0)
"""Before a sender that crashed is started again; there is no further time."""


class Courier:
    """Starts the sender, logs its words, starts it again should it crash."""

    def __init__(self, study: StudyLayout, tracking_uri: str, *, known_away: bool = False) -> None:
        self._outbox = study.outbox
        # The URI may have a password, and a command line is readable by everybody.
        order = {"study": str(study.root.absolute()), "tracking_uri": tracking_uri, "known_away": known_away}
        self._orders = [json.dumps(order)]
        self._lock = threading.Lock()  # of the orders and the process
        self._closing = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._status: int | None = None
        self._thread = threading.Thread(target=self._attend, name="tracking-courier", daemon=True)

    @property
    def pid(self) -> int | None:
        """The sender's process, None before its start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Let the sender start; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Do nothing: the sender watches the file."""

    def close(self, timeout_s: float) -> bool:
        """Let the sender send what is left, within a time, and return whether everything was sent."""
        with self._lock:
            self._orders.append(str(timeout_s))
            if self._process is not None:
                _tell(self._process, self._orders[-1:])
        self._closing.set()
        self._thread.join(timeout_s + _GRACE_S)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()
        return self._status == ALL_SENT

    def _attend(self) -> None:
        """Run senders until one ends as it should."""
        for pause_s in (*_PAUSES_S, None):
            try:
                self._status = self._run()
            except OSError as exc:  # no more processes, say
                _log.warning("MLflow's sender cannot be started: %s", exc)
            if self._status in (ALL_SENT, LEFT_OVER) or (pause_s and self._closing.wait(pause_s)):
                return
        _log.warning(
            "MLflow's sender ended %d times by itself, the last time with status %s; the study goes on and its events "
            "wait in %s for `study sync`",
            len(_PAUSES_S) + 1, self._status, self._outbox,
        )  # fmt: skip

    def _run(self) -> int:
        with self._lock:
            self._process = process = _launch()
            _tell(process, self._orders)
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                _repeat(line)
        status = process.wait()
        with self._lock, suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        return status


def _launch() -> subprocess.Popen[str]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        _COMMAND,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the driver, which then says when to end
    )


def _tell(process: subprocess.Popen[str], orders: list[str]) -> None:
    assert process.stdin is not None
    with suppress(OSError, ValueError):  # it ended just now
        process.stdin.writelines(f"{order}\n" for order in orders)
        process.stdin.flush()


def _repeat(line: str) -> None:
    with suppress(ValueError, KeyError, TypeError):  # cut short by a crash
        word = json.loads(line)
        logging.getLogger(word["logger"]).log(word["level"], "%s", word["text"])
