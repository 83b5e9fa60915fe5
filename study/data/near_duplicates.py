"""Find validation images that training has nearly the same picture of; pure, no I/O.

Hashes give candidates, thumbnails confirm them: faces of one layout share a hash, but not their pixels. Validation
images are compared moved by up to 2 px in both directions too. Mirrored copies are not looked for.

Seen on the built-in faces (1200 in training, 400 in validation, seeds 0 to 2): at 64, 48 and 32 px 0, 0 and 0 of 400
false alarms with seed 0, and 1 of 3600 in all. Of 400 planted copies at 64, 48 and 32 px were found: saved again as
JPEG of quality 60, 100 %, 100 % and 98 %; resized by 0.9 and back, 100 %, 100 % and 99 %; brightened by 10 %, all;
moved by 2 px in both directions, 100 %, 100 % and 99 %; all but the last at once, 100 %, 100 % and 95 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from study.data.dataset import DataBundle
from study.data.image_hash import (
    Bytes,
    Floats,
    Hashes,
    Shift,
    colour_thumbnails,
    grey_of,
    grey_thumbnails,
    perceptual_hashes,
    reduce_images,
)

DUPLICATE_WARNING_FRACTION = 0.005
MAX_HASH_BITS = 10
MIN_CORRELATION = 0.97
MAX_TONE_STEPS = 40
SHIFTS_PX = (-2, -1, 0, 1, 2)
BLOCK_HASHES = 1 << 18  # fits a core's own cache
BLOCK_THUMBNAILS = 1 << 12
BLOCK_COLOURS = 1 << 11
NOTICE_PAIRS = 1 << 28  # about ten seconds: every study begins with it
EXAMPLES = 2

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DuplicatePairs:
    """Places of pictures that are nearly the same: ``first`` and ``second`` are int64 [P], sorted by second, first."""

    first: Places
    second: Places

    def __len__(self) -> int:
        return len(self.first)


def duplicate_pairs(first: Bytes, second: Bytes) -> DuplicatePairs:
    """Return every pair of nearly equal images, one of each set [N, S, S, 3] and [M, S, S, 3]."""
    assert first.shape[1:] == second.shape[1:]
    return _pairs(_Album.of(first), _Album.of(second), within=False)


def duplicate_pairs_within(images: Bytes) -> DuplicatePairs:
    """Return every pair of nearly equal images of one set, ``first`` before ``second``."""
    album = _Album.of(images)
    return _pairs(album, album, within=True)


def duplicate_notice(bundle: DataBundle) -> str | None:
    """Warn when more than 0.5 % of the validation images have a near-duplicate in training; None otherwise.

    Very large sets are judged by an even sample of the validation images, which the notice says.
    """
    step = max(1, -(-len(bundle.train) * len(bundle.val) // NOTICE_PAIRS))
    val, names = bundle.val.images[::step], bundle.val.names[::step]
    pairs = duplicate_pairs(bundle.train.images, val)
    places, where = np.unique(pairs.second, return_index=True)
    if len(places) <= DUPLICATE_WARNING_FRACTION * len(val):
        return None
    examples = [
        f"{names[at]} is like {bundle.train.names[pairs.first[pair]]}"
        for at, pair in zip(places[:EXAMPLES], where[:EXAMPLES], strict=True)
    ]
    looked_at = "validation images" if step == 1 else "validation images looked at"
    return (
        f"{len(places)} of {len(names)} {looked_at} ({len(places) / len(names):.1%}) have a near-duplicate in "
        f"training, so validation scores are too good: {'; '.join(examples)}; keep copies together with data.group_by"
    )


@dataclass(frozen=True)
class _Album:
    """Pictures of at most 64 x 64, in colour [N, S, S, 3] and grey [N, S, S]."""

    images: Bytes
    grey: Bytes

    @classmethod
    def of(cls, images: Bytes) -> _Album:
        small = reduce_images(images)
        return cls(small, grey_of(small))


def _pairs(known: _Album, others: _Album, *, within: bool) -> DuplicatePairs:
    hashes, thumbnails = perceptual_hashes(known.grey)[0, 0], grey_thumbnails(known.grey)
    moved = perceptual_hashes(others.grey, SHIFTS_PX)
    matches: set[tuple[int, int]] = set()
    for (row, rows), (column, columns) in product(enumerate(SHIFTS_PX), repeat=2):
        for of, at in _candidates(hashes, moved[row, column], before=within):
            of, at = _same_shapes(thumbnails, others, (rows, columns), of, at)
            for start in range(0, len(of), BLOCK_COLOURS):
                theirs, ours = of[start : start + BLOCK_COLOURS], at[start : start + BLOCK_COLOURS]
                same = _same_colours(known.images[ours], others.images[theirs], (rows, columns))
                matches.update(zip(theirs[same].tolist(), ours[same].tolist(), strict=True))
    pairs = np.array(sorted(matches), np.int64).reshape(-1, 2)
    return DuplicatePairs(pairs[:, 1], pairs[:, 0])


def _candidates(known: Hashes, moved: Hashes, *, before: bool) -> Iterator[tuple[Places, Places]]:
    """Yield (places in ``moved``, places in ``known``) of hashes that differ in few bits.

    With ``before`` only those whose place in ``known`` comes first, which halves the work within one set.
    """
    rows = max(1, BLOCK_HASHES // max(1, len(known)))
    different, bits = np.empty((rows, len(known)), np.uint64), np.empty((rows, len(known)), np.uint8)
    for start in range(0, len(moved), rows):
        block = moved[start : start + rows, None]
        width = min(len(known), start + len(block)) if before else len(known)
        part = np.s_[: len(block), :width]
        np.bitwise_xor(block, known[:width], out=different[part])
        np.bitwise_count(different[part], out=bits[part])
        of, at = np.divmod(np.flatnonzero(bits[part] <= MAX_HASH_BITS), max(1, width))
        of += start
        kept = at < of if before else np.ones(len(of), np.bool_)
        if kept.any():
            yield of[kept], at[kept]


def _same_shapes(known: Floats, others: _Album, shift: Shift, of: Places, at: Places) -> tuple[Places, Places]:
    """Keep the candidates whose grey thumbnails agree."""
    places, where = np.unique(of, return_inverse=True)
    moved = grey_thumbnails(others.grey[places], shift)
    step = BLOCK_THUMBNAILS
    kept = [
        _agree(known[at[start : start + step]], moved[where[start : start + step]]) for start in range(0, len(of), step)
    ]
    same = np.concatenate(kept)
    return of[same], at[same]


def _same_colours(known: Bytes, others: Bytes, shift: Shift) -> npt.NDArray[np.bool_]:
    """Whether pictures agree in their colours, place by place and as a whole."""
    tone = np.abs(known.mean((1, 2)) - others.mean((1, 2))).max(1)
    alike = _agree(colour_thumbnails(known), colour_thumbnails(others, shift))
    return np.asarray(alike & (tone <= MAX_TONE_STEPS), np.bool_)


def _agree(first: Floats, second: Floats) -> npt.NDArray[np.bool_]:
    """Whether normalised thumbnails correlate; two plain ones agree."""
    plain = ~first.any(1) & ~second.any(1)
    return np.asarray(((first * second).sum(1) >= MIN_CORRELATION) | plain, np.bool_)
