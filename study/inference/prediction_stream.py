"""Predict any number of picture files, with memory for a few only."""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.data.decode import quiet_pillow
from study.errors import DataError
from study.inference.classifier import Classifier, Prediction, classify
from study.utils.cpus import available_cores

BATCH = 8
_AHEAD = 2
"""Batches for each thread that are read ahead, so that none waits for another's large picture."""


def predict_files(
    classifier: Classifier, paths: Iterable[Path], *, threads: int | None = None, batch: int = BATCH
) -> Iterator[Prediction]:
    """Yield the prediction of each file in order; one that cannot be read has a reason instead of a class.

    Each thread decodes a batch and classifies it, so that all of them are busy whichever of the two takes longer.
    Both let go of the interpreter lock. As many pictures are in memory at full size as there are threads.

    Args:
        classifier: used by all threads.
        paths: read a few batches ahead of what was yielded.
        threads: None means one per available core.
        batch: pictures that are classified at once.
    """
    threads, rest = threads or available_cores(), iter(paths)
    waiting: deque[Future[list[Prediction]]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, thread_name_prefix="predict") as pool:
        quiet_pillow()
        try:
            while True:
                while len(waiting) < _AHEAD * threads and (chunk := list(itertools.islice(rest, batch))):
                    waiting.append(pool.submit(_predict_batch, classifier, chunk))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _predict_batch(classifier: Classifier, paths: list[Path]) -> list[Prediction]:
    images: list[NDArray[np.uint8]] = []
    reasons: list[str | None] = []
    for path in paths:
        try:
            images.append(classifier.preprocess(path))
            reasons.append(None)
        except DataError as error:
            reasons.append(str(error))
    classified = iter(classify(classifier, images))
    return [next(classified) if reason is None else Prediction(None, reason=reason) for reason in reasons]
