"""Classify the faces in the frames of a video or a camera, and draw them: several frames at once, in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from study.data.framing import Framing
from study.inference.classifier import Classifier
from study.inference.face_predictions import classify_faces, face_captions
from study.photos.detector import FaceDetector, Photo
from study.photos.drawing import draw_boxes, draw_note
from study.photos.faces import cut_faces
from study.utils.cpus import available_cores

_RATE_OVER = 30


class FrameRate:
    """How many frames were done a second, lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: deque[float] = deque((clock(),), maxlen=_RATE_OVER)

    def count(self) -> None:
        """Count a frame that is done."""
        self._done.append(self._clock())

    @property
    def per_second(self) -> float:
        """Over the last frames; 0 before the first."""
        passed = self._done[-1] - self._done[0]
        return (len(self._done) - 1) / passed if passed > 0 else 0.0


@dataclass(frozen=True)
class WatchedFrame:
    """A frame with its faces drawn, and the index of the class of each face, the largest first."""

    photo: Photo
    labels: tuple[int, ...]


def watch_frames(
    classifier: Classifier,
    frames: Iterable[Photo],
    size_px: int,
    framing: Framing,
    rate: FrameRate,
    *,
    threads: int | None = None,
) -> Iterator[WatchedFrame]:
    """Yield the frames in order with a box, class and probability for each face, and the frames per second.

    Args:
        classifier: used by all threads.
        frames: read one ahead for each thread.
        size_px: side of the classifier's pictures.
        framing: how faces lay in its training pictures.
        rate: counts what was yielded.
        threads: None means one per available core.

    Raises:
        DataError: the frames are too small to hold a face.
    """
    own = threading.local()

    def watch(frame: Photo) -> WatchedFrame:
        if not hasattr(own, "detector"):
            own.detector = FaceDetector()
        faces = own.detector.detect(frame)
        predictions = classify_faces(classifier, cut_faces(frame, faces, size_px, framing))
        captions, colours = face_captions(classifier, predictions)
        drawn = draw_boxes(frame, [face.box for face in faces], captions, colours)
        labels = tuple(each.label for each in predictions if each.label is not None)
        return WatchedFrame(draw_note(drawn, f"{rate.per_second:.1f} frames/s"), labels)

    threads = threads or available_cores()
    waiting: deque[Future[WatchedFrame]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="watch") as pool:
        try:
            for frame in frames:
                waiting.append(pool.submit(watch, frame))
                if len(waiting) > threads:
                    yield _counted(waiting.popleft(), rate)
            while waiting:
                yield _counted(waiting.popleft(), rate)
        finally:
            for future in waiting:
                future.cancel()


def _counted(future: Future[WatchedFrame], rate: FrameRate) -> WatchedFrame:
    watched = future.result()
    rate.count()
    return watched
