"""Send an outbox from a process of its own: orders come in through stdin, words for the log go out through stdout."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from study.layout import StudyLayout
from tracking.sending.drain import Drain
from tracking.sending.writer import Writer
from tracking.uri import mask_uri

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
    writer = Writer(Drain(study, uri), mask_uri(uri), known_away=bool(order.get("known_away")))
    writer.start()
    timeout_s = _watch(study.outbox, writer, orders)
    return ALL_SENT if writer.close(timeout_s) else LEFT_OVER


def _watch(outbox: Path, writer: Writer, orders: Iterator[str]) -> float:
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
