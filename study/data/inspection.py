"""Decode the pictures of a plan in parallel, noting what each is like instead of refusing any."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.data.decode import Resize, decode_image, picture_size, quiet_pillow
from study.data.files import ImageFile
from study.data.reader import CHUNK_FILES, Progress, available_cores
from study.errors import DataError


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
    found = Inspection(np.zeros(shape, np.uint8), np.zeros((len(files), 2), np.int64), {})

    def inspect_chunk(start: int) -> int:
        places = range(start, min(start + CHUNK_FILES, len(files)))
        for at in places:
            try:
                _inspect(found, at, files[at], resize)
            except DataError as exc:
                found.faults[at] = str(exc)
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
    return found


def _inspect(found: Inspection, at: int, file: ImageFile, resize: Resize) -> None:
    try:
        contents = file.path.read_bytes()
    except OSError as exc:
        raise DataError(exc.strerror or str(exc)) from exc
    found.images[at] = decode_image(contents, found.images.shape[1], resize)
    found.sizes_px[at] = picture_size(contents)
