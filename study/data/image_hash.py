"""Describe pictures by hashes and thumbnails that survive saving again, resizing and brightening; pure, no I/O.

Everything here is linear in the pixels but the last step, so moving a picture, averaging it and taking its
frequencies are one small matrix from the left and one from the right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Shift = tuple[int, int]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
HASH_PX = 32
FREQUENCIES = 8
WORK_PX = 64
MARGIN_PX = 3
GREY_PX = 24
COLOUR_PX = 8
BLOCK_IMAGES = 256
# A thumbnail whose pixels vary less than this is one plain colour.
PLAIN_STEPS = 0.1


def reduce_images(images: Bytes) -> Bytes:
    """Shrink images [N, S, S, 3] to at most 64 x 64 by averaging; smaller ones stay as they are."""
    if images.shape[1] <= WORK_PX:
        return images
    small = np.empty((len(images), WORK_PX, WORK_PX, 3), np.uint8)
    weights = _area_weights(images.shape[1], WORK_PX)
    for block in _blocks(len(images)):
        for channel in range(3):
            small[block, ..., channel] = np.rint(_apply(weights, images[block, ..., channel], weights))
    return small


def grey_of(images: Bytes) -> Bytes:
    """Return the brightness of images, uint8 [N, S, S]."""
    grey = np.empty(images.shape[:3], np.uint8)
    for block in _blocks(len(images)):
        grey[block] = np.rint(images[block] @ LUMA)
    return grey


def perceptual_hashes(grey: Bytes, shifts_px: Sequence[int] = (0,)) -> Hashes:
    """Hash pictures to 64 bits: which of their 64 lowest frequencies lie above the median of these.

    Args:
        grey: [N, S, S].
        shifts_px: by how many rows, and by how many columns, the pictures are moved first, the edge repeated.

    Returns:
        [len(shifts_px), len(shifts_px), N]: by rows moved, columns moved and picture.

    Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1 (the
    lowest row and column of the DCT are left out); its mean filter and sampling are one averaging here.
    """
    size, count = grey.shape[1], len(shifts_px)
    waves = np.concatenate([_cosines() @ _area_weights(size, HASH_PX) @ _moving(size, by) for by in shifts_px])
    hashes = np.empty((count, count, len(grey)), np.uint64)
    for block in _blocks(len(grey)):
        both = _apply(waves, grey[block], waves).reshape(-1, count, FREQUENCIES, count, FREQUENCIES)
        coefficients = both.transpose(1, 3, 0, 2, 4).reshape(count, count, -1, FREQUENCIES**2)
        coefficients = np.rint(coefficients)  # or a plain picture's hash would be chance
        bits = coefficients > np.median(coefficients, axis=-1, keepdims=True)
        hashes[..., block] = np.packbits(bits, axis=-1).view(np.uint64)[..., 0]
    return hashes


def grey_thumbnails(grey: Bytes, shift: Shift = (0, 0)) -> Floats:
    """Return [N, 576] thumbnails of the inner part of moved pictures, see `normalised`."""
    rows, columns = (_inner_weights(grey.shape[1], GREY_PX, by) for by in shift)
    parts = [_apply(rows, grey[block], columns) for block in _blocks(len(grey))]
    return normalised(np.concatenate(parts)) if parts else np.empty((0, GREY_PX**2), np.float32)


def colour_thumbnails(images: Bytes, shift: Shift = (0, 0)) -> Floats:
    """Return [N, 192] thumbnails of the inner part of moved pictures, see `normalised`."""
    rows, columns = (_inner_weights(images.shape[1], COLOUR_PX, by) for by in shift)
    channels = [_apply(rows, images[..., channel], columns) for channel in range(3)]
    return normalised(np.stack(channels, axis=-1))


def normalised(thumbnails: Floats) -> Floats:
    """Flatten to [N, K] of mean 0 and length 1, so that a product is a correlation; 0 where nothing varies."""
    flat = thumbnails.reshape(len(thumbnails), math.prod(thumbnails.shape[1:]))
    flat = flat - flat.mean(1, keepdims=True)
    length = np.sqrt((flat * flat).sum(1, keepdims=True))
    varies = length > PLAIN_STEPS * flat.shape[1] ** 0.5
    return np.where(varies, flat / np.maximum(length, 1e-6), 0).astype(np.float32, copy=False)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + BLOCK_IMAGES) for start in range(0, count, BLOCK_IMAGES)]


def _apply(rows: Floats, pictures: Bytes, columns: Floats) -> Floats:
    """Return rows @ picture @ columns.T of every picture: [N, H, W] -> [N, len(rows), len(columns)]."""
    count, height, width = pictures.shape
    # One flat product from each side: a stack of them beside a single matrix misses BLAS, a hundred times slower.
    flat = pictures.astype(np.float32).reshape(count * height, width) @ columns.T
    turned = flat.reshape(count, height, len(columns)).transpose(0, 2, 1).reshape(-1, height) @ rows.T
    return np.asarray(turned.reshape(count, len(columns), len(rows)).transpose(0, 2, 1), np.float32)


def _inner_weights(size: int, side: int, shift: int) -> Floats:
    """Return [side, size]: average the inner part of a moved picture; the rim may be made up by moving."""
    inner = np.zeros((side, size), np.float32)
    inner[:, MARGIN_PX:-MARGIN_PX] = _area_weights(size - 2 * MARGIN_PX, side)
    return inner @ _moving(size, shift)


def _moving(size: int, shift: int) -> Floats:
    """Return [size, size]: take each pixel from ``shift`` further on, the edge repeated."""
    return np.eye(size, dtype=np.float32)[np.clip(np.arange(size) + shift, 0, size - 1)]


@cache
def _area_weights(size: int, side: int) -> Floats:
    """Return [side, size]: how much each old pixel adds to each new one; rows sum to 1."""
    edges = np.linspace(0, size, side + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None)
    shares: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return shares


@cache
def _cosines() -> Floats:
    frequency = np.arange(1, FREQUENCIES + 1)[:, None]
    return np.cos(np.pi * (2 * np.arange(HASH_PX) + 1) * frequency / (2 * HASH_PX)).astype(np.float32)
