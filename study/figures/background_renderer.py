"""Renders the page of every finished trial, and of the study at its end, in a background thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from study.config.search_config import Objective
from study.events import EpochEvents, Event, PicturesDrawn, Recorder, StudyEnded, StudyStarted, TrialFinished
from study.figures.study_page import TrialCurves, curves_of, study_page
from study.figures.trial_page import trial_page
from study.files import write_text_atomic
from study.paths import SCORES, StudyLayout
from study.records import TrialRecord
from study.utils.named_places import checkpoint_folder

_log = logging.getLogger(__name__)
CLOSE_TIMEOUT_S = 30.0


class FigureRenderer:
    """A Recorder that passes events on at once, and renders pages in a background thread.

    The thread keeps its normal priority: a slower one would delay the engine while it holds the interpreter's lock.
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
        report: Callable[[StudyEnded], str] | None = None,
    ) -> None:
        """Take the validation images [M, S, S, 3] and their names [M], in the order of every trial's scores.

        ``report`` returns the page that is written when the study ends, after its learning curves.
        """
        self._inner, self._layout = inner, layout
        self._classes, self._images, self._names = classes, images, names
        self._close_timeout_s, self._clock, self._report = close_timeout_s, clock, report
        self._lock = threading.Lock()  # the inner recorder gets one event at a time
        self._objective: Objective | None = None
        self._curves: dict[int, TrialCurves] = {}
        self._queue: SimpleQueue[TrialRecord | StudyEnded | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def record(self, event: Event) -> None:
        """Pass an event on, and queue the page of a finished trial or study."""
        with self._lock:
            self._inner.record(event)
        if isinstance(event, StudyStarted):
            self._objective = event.spec.objective
        elif isinstance(event, TrialFinished):
            self._add_curves(event.record)
            if event.record.checkpoint is not None:
                self._enqueue(event.record)
        elif isinstance(event, StudyEnded) and self._curves:
            self._enqueue(event)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> None:
        """Pass earlier trials on, and queue those without a page."""
        with self._lock:
            self._inner.catch_up(records, at_s, reports)
        for record in (record for record in records if record.state.is_finished):
            self._add_curves(record)
            if self._layout.needs_pictures(record.trial, record.checkpoint):
                self._enqueue(record)

    def close(self) -> None:
        """Render what is queued, within a time limit; the rest is rendered when the study is resumed."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(self._close_timeout_s)
        with self._lock:
            self._closed = True
        if self._thread is not None and self._thread.is_alive():
            _log.warning("not every trial could be drawn within %g s; the rest is left out", self._close_timeout_s)
        self._inner.close()

    def _add_curves(self, record: TrialRecord) -> None:
        if self._objective is not None and record.history:
            self._curves[record.trial] = curves_of(record, self._objective)

    def _enqueue(self, ended: TrialRecord | StudyEnded) -> None:
        self._queue.put(ended)
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._work, name="figure-renderer", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:  # no more threads; the next trial tries again
            _log.warning("the trials cannot be drawn now: %s", exc)
        else:
            self._thread = thread

    def _work(self) -> None:
        while not self._closed and (ended := self._queue.get()) is not None:
            try:
                self._draw(ended)
            except Exception as exc:  # a page is never worth a study
                what = f"trial {ended.trial}" if isinstance(ended, TrialRecord) else "the study"
                _log.warning("%s could not be drawn: %s: %s", what, type(exc).__name__, exc)

    def _draw(self, ended: TrialRecord | StudyEnded) -> None:
        if isinstance(ended, TrialRecord):
            self._store(ended.study, ended.trial, self._layout.trial_pictures(ended.trial), self._trial_page(ended))
        else:
            assert self._objective is not None
            page = study_page(ended.study, self._objective, list(self._curves.values()))
            self._store(ended.study, None, self._layout.learning_curves, page)
            if self._report is not None:
                self._store(ended.study, None, self._layout.report, self._report(ended))

    def _trial_page(self, record: TrialRecord) -> str:
        assert record.checkpoint is not None
        with (
            (checkpoint_folder(self._layout, record.trial, record.checkpoint) / SCORES).open("rb") as file,
            np.load(file) as stored,
        ):
            scores, labels = stored["scores"], stored["labels"]
        return trial_page(record, scores, labels, self._classes, self._images, self._names)

    def _store(self, study: str, trial: int | None, path: Path, page: str) -> None:
        path = path.absolute()
        with self._lock:
            if self._closed:
                return
        write_text_atomic(path, page)
        event = PicturesDrawn(study, trial, str(path), self._clock())
        with self._lock:
            if not self._closed:
                self._inner.record(event)
