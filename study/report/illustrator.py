"""Draw every trial that ended, beside the engine, and tell the recorder of the page."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from study.events import Event, PicturesDrawn, Recorder, TrialFinished
from study.layout import StudyLayout, write_text_atomic
from study.records import TrialRecord
from study.report.page import trial_page

_log = logging.getLogger(__name__)
SCORES = "validation.npz"
CLOSE_TIMEOUT_S = 30.0


class Illustrator:
    """A Recorder that passes everything on at once and lets one background thread draw.

    The thread keeps its normal priority: a slower one that holds the interpreter's lock would hold up the engine.
    """

    def __init__(
        self,
        inner: Recorder,
        layout: StudyLayout,
        classes: Sequence[str],
        images: NDArray[np.uint8],
        names: Sequence[str],
        *,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the validation images [M, S, S, 3] and their names [M], in the order of every trial's scores."""
        self._inner, self._layout = inner, layout
        self._classes, self._images, self._names = classes, images, names
        self._close_timeout_s, self._clock = close_timeout_s, clock
        self._lock = threading.Lock()  # the inner recorder hears of one event at a time
        self._queue: SimpleQueue[TrialRecord | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def record(self, event: Event) -> None:
        """Pass one event on; a trial that ended is drawn later."""
        with self._lock:
            self._inner.record(event)
        if isinstance(event, TrialFinished):
            self._ask(event.record)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float) -> None:
        """Pass earlier trials on and draw those that have no page yet."""
        with self._lock:
            self._inner.catch_up(records, at_s)
        for record in records:
            # os.path.exists: Path.exists raises where a folder may not be entered
            if record.state.is_finished and not os.path.exists(self._layout.trial_pictures(record.trial)):
                self._ask(record)

    def close(self) -> None:
        """Draw what is left, within a time; the rest is drawn when the study is resumed."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(self._close_timeout_s)
        with self._lock:
            self._closed = True
        if self._thread is not None and self._thread.is_alive():
            _log.warning("not every trial could be drawn within %g s; the rest is left out", self._close_timeout_s)
        self._inner.close()

    def _ask(self, record: TrialRecord) -> None:
        if record.checkpoint is None:
            return
        self._queue.put(record)
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._work, name="illustrator", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:  # no more threads; the next trial tries again
            _log.warning("the trials cannot be drawn now: %s", exc)
        else:
            self._thread = thread

    def _work(self) -> None:
        while not self._closed and (record := self._queue.get()) is not None:
            try:
                self._draw(record)
            except Exception as exc:  # a page is never worth a study
                _log.warning("trial %d could not be drawn: %s: %s", record.trial, type(exc).__name__, exc)

    def _draw(self, record: TrialRecord) -> None:
        assert record.checkpoint is not None
        with (self._layout.near(record.trial, record.checkpoint) / SCORES).open("rb") as file, np.load(file) as stored:
            scores, labels = stored["scores"], stored["labels"]
        page = trial_page(record, scores, labels, self._classes, self._images, self._names)
        path = self._layout.trial_pictures(record.trial).absolute()
        with self._lock:
            if self._closed:
                return
        write_text_atomic(path, page)
        event = PicturesDrawn(record.study, record.trial, str(path), self._clock())
        with self._lock:
            if not self._closed:
                self._inner.record(event)
