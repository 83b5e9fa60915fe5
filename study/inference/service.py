"""Classify pictures that arrive one by one: a bounded queue, threads that decode, and one that takes batches."""

from __future__ import annotations

import queue
import threading
import time
import warnings
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.data.decode import quiet_pillow, stored_size_px
from study.errors import DataError
from study.inference.classifier import Classifier, Prediction, classify
from study.inference.service_metrics import ServiceMetrics

QUEUE = 64
DECODERS = 2
BATCH = 32
MAX_PIXELS = 50_000_000
_LARGE_PIXELS = 16_000_000
"""Of pictures larger than this one is decoded at a time, which bounds the memory that they take."""


class QueueFullError(Exception):
    """As many pictures wait as may."""


@dataclass
class _Job:
    """A picture on its way; ``deadline_s`` on the clock of ``time.monotonic``."""

    contents: bytes
    deadline_s: float
    answer: Future[Prediction]
    pixels: NDArray[np.uint8] | None = None


class InferenceService:
    """Answers pictures by a classifier, at most ``limit`` at the same time.

    A picture that is still waiting at its deadline is not worked on any more. Use it as a context manager.
    """

    def __init__(
        self, classifier: Classifier, *, limit: int = QUEUE, decoders: int = DECODERS, batch: int = BATCH
    ) -> None:
        self.classifier = classifier
        self.limit = limit
        self.metrics = ServiceMetrics()
        self._batch = batch
        self._undecoded: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._decoded: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock, self._large = threading.Lock(), threading.Lock()
        self._pending, self._is_open = 0, True
        self._warnings = warnings.catch_warnings()
        self._decoders = [threading.Thread(target=self._decode, daemon=True) for _ in range(decoders)]
        self._classifier = threading.Thread(target=self._classify, daemon=True)

    def __enter__(self) -> InferenceService:
        """Start the threads."""
        self._warnings.__enter__()
        quiet_pillow()
        for thread in (*self._decoders, self._classifier):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer what was accepted, and end the threads."""
        with self._lock:
            self._is_open = False
        for _thread in self._decoders:
            self._undecoded.put(None)
        for thread in self._decoders:
            thread.join()
        self._decoded.put(None)
        self._classifier.join()
        self._warnings.__exit__(None, None, None)

    @property
    def pending(self) -> int:
        """How many pictures were accepted and have no answer yet."""
        return self._pending

    @property
    def is_full(self) -> bool:
        """Whether the next picture would be refused."""
        return self._pending >= self.limit

    def submit(self, contents: bytes, deadline_s: float) -> Future[Prediction]:
        """Accept the contents of a picture file.

        Args:
            contents: JPEG, PNG and so on.
            deadline_s: when nobody waits for the answer any more, on the clock of ``time.monotonic``.

        Returns:
            The prediction; or DataError where it is no picture or too large, TimeoutError past the deadline.

        Raises:
            QueueFullError: too many pictures wait, or the service ends.
        """
        with self._lock:
            if not self._is_open or self.is_full:
                raise QueueFullError
            self._pending += 1
            job = _Job(contents, deadline_s, Future())
            self._undecoded.put(job)  # inside the lock, so that nothing is behind the end
        return job.answer

    def _decode(self) -> None:
        while (job := self._undecoded.get()) is not None:
            if not job.answer.set_running_or_notify_cancel():
                self._leave()
            elif self._is_late(job):
                self._fail(job, TimeoutError())
            else:
                try:
                    job.pixels = self._pixels(job.contents)
                    job.contents = b""
                    self._decoded.put(job)
                except Exception as error:  # a fault of one picture must not end the thread of all
                    self._fail(job, error)

    def _pixels(self, contents: bytes) -> NDArray[np.uint8]:
        width, height = stored_size_px(contents)
        if width * height > MAX_PIXELS:
            raise DataError(f"a picture must have at most {MAX_PIXELS:,} pixels, but has {width} x {height}")
        with self._large if width * height > _LARGE_PIXELS else nullcontext():
            return self.classifier.preprocess(contents)

    def _classify(self) -> None:
        ended = False
        while not ended:
            jobs, job = [], self._decoded.get()
            while job is not None:
                if self._is_late(job):
                    self._fail(job, TimeoutError())
                else:
                    jobs.append(job)
                if len(jobs) == self._batch:
                    break
                try:
                    job = self._decoded.get_nowait()
                except queue.Empty:
                    break
            ended = job is None
            self._answer(jobs)

    def _answer(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            predictions = classify(self.classifier, [job.pixels for job in jobs if job.pixels is not None])
        except Exception as error:  # a fault of one batch must not end the thread of all
            for job in jobs:
                self._fail(job, error)
            return
        self.metrics.batches.observe(len(jobs))
        for job, prediction in zip(jobs, predictions, strict=True):
            assert prediction.label is not None
            self.metrics.predictions.add(self.classifier.classes[prediction.label])
            self._leave()
            job.answer.set_result(prediction)

    def _is_late(self, job: _Job) -> bool:
        return time.monotonic() > job.deadline_s

    def _fail(self, job: _Job, error: Exception) -> None:
        self._leave()
        job.answer.set_exception(error)

    def _leave(self) -> None:
        with self._lock:
            self._pending -= 1
