"""Decode pictures in parallel, and refuse a plan with too many broken ones."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from study.data.dataset import SPLITS, ImageSet, require_classes
from study.data.decode import DARK_MAX, Resize, quiet_pillow, read_picture
from study.data.image_files import ImageFile
from study.data.image_folder import FolderPlan
from study.errors import DataError
from study.utils.cpus import available_cores
from study.utils.text import printable

_log = logging.getLogger(__name__)

MAX_BROKEN_FRACTION = 0.01
SHOWN_BROKEN = 10
CHUNK_FILES = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DecodedFiles:
    """What pictures are like, by their place in the list that was asked for.

    ``images`` is uint8 RGB [N, S, S, 3] and ``sizes_px`` int64 [N, 2], the width and height as stored, upright; both
    hold 0 for a broken picture, whose reason ``faults`` has by place. ``wide`` are the places of pictures of 16 bit.
    """

    images: npt.NDArray[np.uint8]
    sizes_px: npt.NDArray[np.int64]
    faults: dict[int, str] = field(default_factory=dict)
    wide: set[int] = field(default_factory=set)

    def whole(self) -> npt.NDArray[np.int64]:
        """Return the places of the pictures that can be read."""
        return np.array([at for at in range(len(self.images)) if at not in self.faults], np.int64)

    def darkness_notice(self) -> str | None:
        """Warn where most pictures of 16 bit use only the lower ones, as those of 12-bit cameras do."""
        brightest = {at: int(self.images[at].max()) for at in self.wide}
        dark = [value for value in brightest.values() if value <= DARK_MAX]
        if not dark or 2 * len(dark) < len(brightest):
            return None
        return (
            f"{len(dark)} of {len(brightest)} pictures of 16 bit come out nearly black, at most {max(dark)} of 255, as "
            "those of 10- to 14-bit cameras do, which use the lower values alone; scale them to 16 bit before the study"
        )


def decode_files(
    files: Sequence[ImageFile],
    image_size_px: int,
    *,
    resize: Resize = "crop",
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> DecodedFiles:
    """Decode files, each once; the result does not depend on ``workers``.

    Threads, because Pillow lets go of the interpreter lock while it decodes and resizes: as fast as processes, with
    nothing to start and nothing to copy. As many pictures are in memory at full size as there are workers.

    Args:
        files: the pictures.
        image_size_px: side S of every image.
        resize: how a picture becomes a square, see `read_picture`.
        workers: threads; None means one per available core.
        on_progress: called in this thread with (pictures done, pictures in all).
    """
    shape = (len(files), image_size_px, image_size_px, 3)
    decoded = DecodedFiles(np.zeros(shape, np.uint8), np.zeros((len(files), 2), np.int64))

    def decode_chunk(start: int) -> int:
        places = range(start, min(start + CHUNK_FILES, len(files)))
        for at in places:
            try:
                picture = read_picture(files[at].path, image_size_px, resize)
            except DataError as exc:
                decoded.faults[at] = str(exc)
                continue
            decoded.images[at], decoded.sizes_px[at] = picture.pixels, picture.size_px
            if picture.is_wide:
                decoded.wide.add(at)
        return len(places)

    threads = workers or available_cores()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        quiet_pillow()
        done = 0
        for count in pool.map(decode_chunk, range(0, len(files), CHUNK_FILES)):
            done += count
            if on_progress is not None:
                on_progress(done, len(files))
    return decoded


def read_plan(
    plan: FolderPlan,
    image_size_px: int,
    *,
    resize: Resize = "crop",
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[dict[str, ImageSet], tuple[str, ...], tuple[str, ...]]:
    """Decode every picture of a plan; the other arguments are those of `decode_files`.

    Returns:
        The sets by name, "relative/path: reason" of every broken picture, and notices.

    Raises:
        DataError: see `require_readable`.
    """
    files = [labelled.file for of_set in plan.sets.values() for labelled in of_set]
    decoded = decode_files(files, image_size_px, resize=resize, workers=workers, on_progress=on_progress)
    broken = list_broken(files, decoded.faults)
    for line in broken:
        _log.warning("skipped %s", line)
    require_readable(plan, decoded.faults)
    notice, sets, start = decoded.darkness_notice(), {}, 0
    for name, of_set in plan.sets.items():
        whole = [at for at in range(start, start + len(of_set)) if at not in decoded.faults]
        for to, at in enumerate(whole, start):
            if to < at:  # moved up in place: a copy without the broken ones would need the memory twice
                decoded.images[to] = decoded.images[at]
        labels = np.array([of_set[at - start].label for at in whole], np.int64)
        names = tuple(files[at].name for at in whole)
        sets[name] = ImageSet(decoded.images[start : start + len(whole)], labels, names)
        start += len(of_set)
    return sets, broken, (notice,) if notice else ()


def list_broken(files: Sequence[ImageFile], faults: Mapping[int, str]) -> tuple[str, ...]:
    """Return "relative/path: reason" of every broken picture, sorted and printable."""
    return tuple(sorted(f"{printable(files[at].name)}: {printable(reason)}" for at, reason in faults.items()))


def require_readable(plan: FolderPlan, faults: Mapping[int, str]) -> None:
    """Check what is left of a plan without its broken pictures: the rule of a run, and of a look before it.

    Args:
        plan: what was read.
        faults: reasons by place, all sets one after the other.

    Raises:
        DataError: more than 1 % of the pictures are broken, or train, val or test has none left of a class.
    """
    files = [labelled.file for of_set in plan.sets.values() for labelled in of_set]
    if len(faults) > MAX_BROKEN_FRACTION * len(files):
        broken = list_broken(files, faults)
        shown = "\n".join(f"  {line}" for line in broken[:SHOWN_BROKEN])
        more = f"\n  and {len(broken) - SHOWN_BROKEN} more" if len(broken) > SHOWN_BROKEN else ""
        raise DataError(
            f"at most {MAX_BROKEN_FRACTION:.0%} of the pictures may be broken, but {len(broken)} of {len(files)} are:\n"
            f"{shown}{more}\nrepair them or move them out of the data folder"
        )
    counts, start = {}, 0
    for name, of_set in plan.sets.items():
        if name in SPLITS:
            counts[name] = dict.fromkeys(plan.classes, 0)
            for at, labelled in enumerate(of_set, start):
                counts[name][plan.classes[labelled.label]] += at not in faults
        start += len(of_set)
    require_classes(counts)
