"""Keep a process at work that sends the outbox, so that MLflow takes neither time nor memory of the driver."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from study.paths import StudyLayout
from tracking.exporter.worker import ExporterThread, OutboxReader
from tracking.tracking_uri import mask_uri

ALL_SENT: Final = 0
LEFT_OVER: Final = 3
ORPHAN_TIMEOUT_S = 15.0
"""How long a sender goes on whose driver was killed."""
_LOOK_EVERY_S = 0.2
_LOWEST_PRIORITY = 19


class _Words(logging.Handler):
    """Passes log records on as JSON lines; nobody hears them after the driver's end."""

    def __init__(self, output: int) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)  # with the traceback, if there is one
        line = json.dumps({"logger": record.name, "level": record.levelno, "text": text})
        with suppress(OSError):
            os.write(self._output, f"{line}\n".encode())


def main() -> int:
    """Send what a first order names until a second says in how many seconds to end, or the driver is gone."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # the driver decides; without one this ends soon
    os.nice(_LOWEST_PRIORITY)
    logging.getLogger().addHandler(_Words(_take_stdout()))
    orders = _orders()
    first = next(filter(None, orders), None)
    if first is None:
        return LEFT_OVER
    order = json.loads(first)
    study, uri = StudyLayout(Path(order["study"])), order["tracking_uri"]
    writer = ExporterThread(OutboxReader(study, uri), mask_uri(uri), known_away=bool(order.get("known_away")))
    writer.start()
    timeout_s = _watch(study.outbox, writer, orders)
    return ALL_SENT if writer.close(timeout_s) else LEFT_OVER


def _watch(outbox: Path, writer: ExporterThread, orders: Iterator[str]) -> float:
    """Wake the writer whenever the outbox has grown; return how long it may go on when that is over."""
    known = 0
    for order in orders:
        if order:
            return float(order)
        size = outbox.stat().st_size if outbox.exists() else 0
        if size != known:
            known = size
            writer.wake()
    return ORPHAN_TIMEOUT_S


def _orders() -> Iterator[str]:
    """Yield each line of standard input, and an empty one whenever there is none for a while; end with the input."""
    waiting = b""
    while True:
        if not select.select([0], [], [], _LOOK_EVERY_S)[0]:
            yield ""
        elif not (data := os.read(0, 65_536)):
            return
        else:
            *lines, waiting = (waiting + data).split(b"\n")
            yield from (line.decode() for line in lines)


def _take_stdout() -> int:
    """Return the descriptor of standard output, which from now on goes where errors go: MLflow prints."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # a thread that waits for a server must not hold up the end


_log = logging.getLogger("tracking")
_ROOT = Path(__file__).resolve().parents[2]
# -P: a folder of the user's that is called tracking, too, is not meant.
_COMMAND = (sys.executable, "-P", "-m", "tracking.exporter.process")
_GRACE_S = 5.0
_PAUSES_S = (1.0, 10.0, 60.0)
"""Before a sender that crashed is started again; there is no further time."""


class ExporterProcess:
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
