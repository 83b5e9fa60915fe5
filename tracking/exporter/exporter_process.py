"""The exporter as a process of its own, so that MLflow takes neither time nor memory of the driver."""

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
from tracking.exporter.outbox_sender import LONGEST_CLOSE_S, ExporterThread, OutboxReader
from tracking.tracking_uri import mask_uri

ALL_SENT: Final = 0
LEFT_OVER: Final = 3
ORPHAN_TIMEOUT_S = 15.0
"""How long an exporter goes on whose driver was killed."""
_POLL_INTERVAL_S = 0.2
_LOWEST_PRIORITY = 19


class _JsonLinesHandler(logging.Handler):
    """Writes log records as JSON lines for the driver to log; they are lost after the driver's end."""

    def __init__(self, output: int) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)  # with the traceback, if there is one
        line = json.dumps({"logger": record.name, "level": record.levelno, "text": text})
        with suppress(OSError):
            os.write(self._output, f"{line}\n".encode())


def main() -> int:
    """Export the outbox that the first line of standard input names, until a second one sets a time limit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the driver decides; without it this ends soon
    os.nice(_LOWEST_PRIORITY)
    logging.getLogger().addHandler(_JsonLinesHandler(_take_stdout()))
    lines = _input_lines()
    first = next(filter(None, lines), None)
    if first is None:
        return LEFT_OVER
    arguments = json.loads(first)
    study, uri = StudyLayout(Path(arguments["study"])), arguments["tracking_uri"]
    exporter = ExporterThread(OutboxReader(study, uri), mask_uri(uri), known_away=bool(arguments.get("known_away")))
    exporter.start()
    timeout_s = _watch(study.outbox, exporter, lines)
    return ALL_SENT if exporter.close(timeout_s) else LEFT_OVER


def _watch(outbox: Path, exporter: ExporterThread, lines: Iterator[str]) -> float:
    """Wake the exporter whenever the outbox has grown; return the time it has left when the driver is done."""
    known = 0
    for line in lines:
        if line:
            return float(line)
        size = outbox.stat().st_size if outbox.exists() else 0
        if size != known:
            known = size
            exporter.wake()
    return ORPHAN_TIMEOUT_S


def _input_lines() -> Iterator[str]:
    """Yield each line of standard input, and an empty one after each interval without any; end with the input."""
    waiting = b""
    while True:
        if not select.select([0], [], [], _POLL_INTERVAL_S)[0]:
            yield ""
        elif not (data := os.read(0, 65_536)):
            return
        else:
            *lines, waiting = (waiting + data).split(b"\n")
            yield from (line.decode() for line in lines)


def _take_stdout() -> int:
    """Return a descriptor of standard output, then redirect it to standard error: MLflow prints."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # do not wait for a thread that waits for a server


_log = logging.getLogger("tracking")
_ROOT = Path(__file__).resolve().parents[2]
# -P: not a folder called tracking in the current one.
_COMMAND = (sys.executable, "-P", "-m", "tracking.exporter.exporter_process")
_GRACE_S = 5.0
_PAUSES_S = (1.0, 10.0, 60.0)
"""Before an exporter that crashed is started again; after the last it is not."""


class ExporterProcess:
    """Starts the exporter process, logs its messages, and starts it again if it crashes."""

    def __init__(self, study: StudyLayout, tracking_uri: str, *, known_away: bool = False) -> None:
        self._study = study
        # The URI may have a password, and a command line is readable by everybody.
        arguments = {"study": str(study.root.absolute()), "tracking_uri": tracking_uri, "known_away": known_away}
        self._lines = [json.dumps(arguments)]
        self._lock = threading.Lock()  # of the lines for the process and the process
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._status: int | None = None
        self._thread = threading.Thread(target=self._supervise, name="tracking-exporter", daemon=True)

    @property
    def pid(self) -> int | None:
        """The id of the process, None before its start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Do nothing: the process watches the file."""

    def close(self, timeout_s: float) -> bool:
        """Send what is left and return whether everything was sent; Ctrl-C ends the process at once."""
        with self._lock:
            self._lines.append(str(timeout_s))
            if self._process is not None:
                _write_lines(self._process, self._lines[-1:])
        self._closing.set()
        try:
            self._ended.wait(max(timeout_s, LONGEST_CLOSE_S) + _GRACE_S)  # after Ctrl-C a join would take it for dead
        finally:
            if not self._ended.is_set() and self._process is not None:
                self._process.kill()
        return self._status == ALL_SENT

    def _supervise(self) -> None:
        """Run the process, again after a crash, until it ends properly."""
        try:
            self._run_until_done()
        finally:
            self._ended.set()

    def _run_until_done(self) -> None:
        for pause_s in (*_PAUSES_S, None):
            try:
                self._status = self._run()
            except OSError as exc:  # no more processes, for example
                _log.warning("MLflow's sender cannot be started: %s", exc)
            if self._status in (ALL_SENT, LEFT_OVER) or (pause_s and self._closing.wait(pause_s)):
                return
        _log.warning(
            "MLflow's sender ended %d times by itself, the last time with status %s; the study goes on and its events "
            "wait in %s, `%s` sends them",
            len(_PAUSES_S) + 1, self._status, self._study.outbox, self._study.command("sync"),
        )  # fmt: skip

    def _run(self) -> int:
        with self._lock:
            self._process = process = _launch()
            _write_lines(process, self._lines)
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                _log_line(line)
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
        start_new_session=True,  # Ctrl-C is for the driver, which then sets the time limit
    )


def _write_lines(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdin is not None
    with suppress(OSError, ValueError):  # it ended just now
        process.stdin.writelines(f"{line}\n" for line in lines)
        process.stdin.flush()


def _log_line(line: str) -> None:
    with suppress(ValueError, KeyError, TypeError):  # cut short by a crash
        record = json.loads(line)
        logging.getLogger(record["logger"]).log(record["level"], "%s", record["text"])
