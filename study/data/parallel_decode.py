"""Decode the pictures of a plan in parallel, listing the broken ones."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from study.data.dataset import ImageSet
from study.data.decode import Resize, decode_image, picture_size, quiet_pillow
from study.data.image_files import ImageFile
from study.data.image_folder import FolderPlan, LabelledFile
from study.errors import DataError

_log = logging.getLogger(__name__)

MAX_BROKEN_FRACTION = 0.01
SHOWN_BROKEN = 10
CHUNK_FILES = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Target:
    """Where the pictures of one set are decoded to; ``faults`` holds the reason by place in ``files``."""

    files: Sequence[LabelledFile]
    images: npt.NDArray[np.uint8]
    resize: Resize
    faults: dict[int, str] = field(default_factory=dict)


def read_plan(
    plan: FolderPlan,
    image_size_px: int,
    *,
    resize: Resize = "crop",
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    """Decode every picture of a plan; the result does not depend on ``workers``.

    Threads, because Pillow lets go of the interpreter lock while it decodes and resizes: as fast as processes, with
    nothing to start and nothing to copy. As many pictures are in memory at full size as there are workers.

    Args:
        plan: what to read.
        image_size_px: side of every image.
        resize: how a picture becomes a square, see `decode_image`.
        workers: threads; None means one per available core.
        on_progress: called in this thread with (pictures done, pictures in all).

    Returns:
        The sets by name, and "relative/path: reason" of every broken picture.

    Raises:
        DataError: more than 1 % of the pictures are broken.
    """
    shape = (image_size_px, image_size_px, 3)
    targets = {
        name: _Target(files, np.empty((len(files), *shape), np.uint8), resize) for name, files in plan.sets.items()
    }
    _decode_all(list(targets.values()), workers or available_cores(), on_progress)
    total = sum(len(target.files) for target in targets.values())
    broken = _list_broken(targets)
    if len(broken) > MAX_BROKEN_FRACTION * total:
        raise DataError(_too_many(broken, total))
    return {name: _keep_whole(target) for name, target in targets.items()}, broken


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decode_all(targets: Sequence[_Target], workers: int, on_progress: Progress | None) -> None:
    chunks = [
        (target, range(start, min(start + CHUNK_FILES, len(target.files))))
        for target in targets
        for start in range(0, len(target.files), CHUNK_FILES)
    ]
    total, done = sum(len(target.files) for target in targets), 0
    with warnings.catch_warnings(), ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        quiet_pillow()
        for count in pool.map(_decode_chunk, *zip(*chunks, strict=True)):
            done += count
            if on_progress is not None:
                on_progress(done, total)


def _decode_chunk(target: _Target, places: range) -> int:
    for at in places:
        try:
            target.images[at] = decode_image(target.files[at].file.path, target.images.shape[1], target.resize)
        except DataError as exc:
            target.faults[at] = str(exc)
    return len(places)


def _list_broken(targets: Mapping[str, _Target]) -> tuple[str, ...]:
    broken = sorted(
        f"{target.files[at].file.name}: {reason}" for target in targets.values() for at, reason in target.faults.items()
    )
    for line in broken:
        _log.warning("skipped %s", line)
    return tuple(broken)


def _keep_whole(target: _Target) -> ImageSet:
    whole = [at for at in range(len(target.files)) if at not in target.faults]
    for to, at in enumerate(whole):
        if to < at:  # moved up in place: a copy without the broken ones would need the memory twice
            target.images[to] = target.images[at]
    images = target.images[: len(whole)]
    labels = np.array([target.files[at].label for at in whole], np.int64)
    return ImageSet(images, labels, tuple(target.files[at].file.name for at in whole))


def _too_many(broken: Sequence[str], total: int) -> str:
    shown = "\n".join(f"  {line}" for line in broken[:SHOWN_BROKEN])
    more = f"\n  and {len(broken) - SHOWN_BROKEN} more" if len(broken) > SHOWN_BROKEN else ""
    return (
        f"at most {MAX_BROKEN_FRACTION:.0%} of the pictures may be broken, but {len(broken)} of {total} are:\n"
        f"{shown}{more}\nrepair them or move them out of the data folder"
    )


@dataclass(frozen=True)
class Inspection:
    """What pictures are like, by their place in the list that was asked for.

    ``images`` is uint8 RGB [N, S, S, 3] and ``sizes_px`` int64 [N, 2], the width and height as stored, upright; both
    hold 0 for a broken picture, whose reason ``faults`` has by place.
    """

    images: npt.NDArray[np.uint8]
    sizes_px: npt.NDArray[np.int64]
    faults: dict[int, str]

    def whole(self) -> npt.NDArray[np.int64]:
        """Return the places of the pictures that can be read."""
        return np.array([at for at in range(len(self.images)) if at not in self.faults], np.int64)


def inspect_files(
    files: Sequence[ImageFile],
    image_size_px: int,
    *,
    resize: Resize = "crop",
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Inspection:
    """Decode files with threads; each is read once.

    Args:
        files: the pictures.
        image_size_px: side S of every image.
        resize: how a picture becomes a square, see `decode_image`.
        workers: threads; None means one per available core.
        on_progress: called in this thread with (pictures done, pictures in all).
    """
    shape = (len(files), image_size_px, image_size_px, 3)
    inspection = Inspection(np.zeros(shape, np.uint8), np.zeros((len(files), 2), np.int64), {})

    def inspect_chunk(start: int) -> int:
        places = range(start, min(start + CHUNK_FILES, len(files)))
        for at in places:
            try:
                _inspect(inspection, at, files[at], resize)
            except DataError as exc:
                inspection.faults[at] = str(exc)
        return len(places)

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers or available_cores(), thread_name_prefix="inspect") as pool,
    ):
        quiet_pillow()
        done = 0
        for count in pool.map(inspect_chunk, range(0, len(files), CHUNK_FILES)):
            done += count
            if on_progress is not None:
                on_progress(done, len(files))
    return inspection


def _inspect(inspection: Inspection, at: int, file: ImageFile, resize: Resize) -> None:
    try:
        contents = file.path.read_bytes()
    except OSError as exc:
        raise DataError(exc.strerror or str(exc)) from exc
    inspection.images[at] = decode_image(contents, inspection.images.shape[1], resize)
    inspection.sizes_px[at] = picture_size(contents)
