"""Render whole splits over processes; the pictures do not depend on how many."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from study.data.synthetic_faces.drawing import ByteArray
from study.data.synthetic_faces.render import check_request, render_face
from study.data.synthetic_faces.sampling import kind_at
from study.data.synthetic_faces.vocabulary import label_of
from study.errors import DataError
from study.utils.cpus import available_cores

Progress = Callable[[int, int], None]
Result = TypeVar("Result")

# Starting processes takes about as long as rendering this many images.
_IN_PROCESS_BELOW = 200
_CHUNK = 32
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class FaceSet:
    """The images of one split: uint8 RGB [n, size, size, 3], labels [n], indices into CLASSES, and kinds [n]."""

    images: ByteArray
    labels: npt.NDArray[np.int64]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Chunk:
    """Consecutive images of one split; `stop` is excluded."""

    seed: int
    split: str
    start: int
    stop: int
    size_px: int


def render_split(seed: int, split: str, count: int, size_px: int, workers: int | None = None) -> FaceSet:
    """Render the first `count` images of a split, the same ones for any number of workers."""
    return render_splits(seed, {split: count}, size_px, workers)[split]


def render_splits(
    seed: int,
    counts: Mapping[str, int],
    size_px: int,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> dict[str, FaceSet]:
    """Render several splits with one pool of processes.

    Args:
        seed: of the data set, not negative.
        counts: images wanted of each split.
        size_px: side of the pictures.
        workers: processes; None takes the cores this process may use. Few images are rendered in this process.
        on_progress: called with images done and images wanted.

    Raises:
        DataError: an argument is out of range.
    """
    for split, count in counts.items():
        check_request(seed, split, size_px)
        if count < 0:
            raise DataError(f"the count of split {split!r} must be >= 0, got {count}")
    images = {split: np.empty((count, size_px, size_px, 3), np.uint8) for split, count in counts.items()}
    chunks = list(chunked(seed, counts, size_px))
    for chunk, block in run_chunks(render_chunk, chunks, workers, on_progress):
        images[chunk.split][chunk.start : chunk.stop] = block
    sets = {}
    for split, of_split in images.items():
        kinds = tuple(kind_at(seed, split, index) for index in range(len(of_split)))
        sets[split] = FaceSet(of_split, np.array([label_of(kind) for kind in kinds], dtype=np.int64), kinds)
    return sets


def chunked(seed: int, counts: Mapping[str, int], size_px: int) -> Iterator[Chunk]:
    """Cut splits into chunks that are worth sending to another process."""
    for split, count in counts.items():
        for start in range(0, count, _CHUNK):
            yield Chunk(seed, split, start, min(start + _CHUNK, count), size_px)


def render_chunk(chunk: Chunk) -> ByteArray:
    """Render a chunk, uint8 [stop - start, size, size, 3]."""
    faces = [render_face(chunk.seed, chunk.split, index, chunk.size_px) for index in range(chunk.start, chunk.stop)]
    return np.stack([face.image for face in faces])


def run_chunks(
    work: Callable[[Chunk], Result],
    chunks: list[Chunk],
    workers: int | None,
    on_progress: Progress | None = None,
) -> Iterator[tuple[Chunk, Result]]:
    """Yield every chunk with the result of a module-level function, in any order; raises what a worker raised.

    ``workers`` and ``on_progress`` are those of `render_splits`.
    """
    wanted = sum(chunk.stop - chunk.start for chunk in chunks)
    done = 0
    for chunk, result in _results(work, chunks, _worker_count(workers, wanted)):
        yield chunk, result
        done += chunk.stop - chunk.start
        if on_progress is not None:
            on_progress(done, wanted)


def _worker_count(workers: int | None, images: int) -> int:
    if workers is not None and workers < 1:
        raise DataError(f"`workers` must be >= 1, got {workers}: leave it out to use every core")
    if images < _IN_PROCESS_BELOW or not _can_spawn():
        return 1
    if workers is not None:
        return workers
    return available_cores()


def _can_spawn() -> bool:
    """Tell whether a fresh process could import the main module, as spawning does."""
    main_file = getattr(sys.modules.get("__main__"), "__file__", None)
    return not multiprocessing.current_process().daemon and (main_file is None or os.path.exists(main_file))


def _results(work: Callable[[Chunk], Result], chunks: list[Chunk], workers: int) -> Iterator[tuple[Chunk, Result]]:
    if workers == 1:
        for chunk in chunks:
            with _single_threaded_opencv():
                result = work(chunk)
            yield chunk, result
        return
    # Some versions of the pool hang on work that cannot be sent; fail here instead.
    pickle.dumps(work)
    # Forking a process that already has threads (OpenCV, BLAS) can hang, so the workers start afresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        try:
            yield from zip(chunks, pool.map(work, chunks), strict=True)
        except BrokenProcessPool as exc:
            raise DataError(
                f"a rendering process was ended from outside, with {workers} at work; too little memory is the usual "
                "cause: use fewer workers"
            ) from exc
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Hold OpenCV to one thread, and end with the parent: a pool whose parent is killed would wait for ever."""
    cv2.setNumThreads(1)
    with suppress(OSError, AttributeError):  # Linux alone can ask for it
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Hold OpenCV to one thread: on pictures this small its thread pool only costs."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
