"""Images that are the same everywhere, to compare a model with itself where no pictures are."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_BLOCKS = (1, 2, 4, 8, 16)


def probe_images(image_size_px: int, count: int) -> NDArray[np.uint8]:
    """Return uint8 [count, S, S, 3] of coloured blocks of several sizes, the same on every machine and version."""
    return np.stack([_blocks(image_size_px, number) for number in range(count)])


def _blocks(size: int, number: int) -> NDArray[np.uint8]:
    edge = _BLOCKS[number % len(_BLOCKS)]
    cells = -(-size // edge)
    drawn = hashlib.shake_256(f"probe {number}".encode()).digest(cells * cells * 3)
    coarse = np.frombuffer(drawn, np.uint8).reshape(cells, cells, 3)
    return coarse.repeat(edge, axis=0).repeat(edge, axis=1)[:size, :size]
