"""Lay pictures of each class out on a sheet, written as PNG."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.errors import DataError
from study.layout import encode_name, write_atomic

COLUMNS = 8
MOST_TILES = 64
GAP_PX = 2


def lay_out(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a sheet on white of up to 64 images [N, S, S, 3], taken evenly from all, eight in a row."""
    places = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_TILES)).round().astype(int))
    side = images.shape[1] + GAP_PX
    rows = -(-len(places) // COLUMNS)
    sheet = np.full((rows * side + GAP_PX, COLUMNS * side + GAP_PX, 3), 255, np.uint8)
    for tile, at in enumerate(places):
        top, left = (GAP_PX + side * number for number in divmod(tile, COLUMNS))
        sheet[top : top + images.shape[1], left : left + images.shape[1]] = images[at]
    return sheet


def write_sheets(
    out: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[Path, ...]:
    """Write OUT/<class>.png for each class with images, in the order of classes.

    Raises:
        DataError: the folder cannot be written.
    """
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for label, name in enumerate(classes):
            if (of_class := images[labels == label]).size:
                paths.append(out / f"{encode_name(name)}.png")
                write_atomic(paths[-1], partial(Image.fromarray(lay_out(of_class)).save, format="PNG"), sync=False)
    except OSError as exc:
        raise DataError(f"the contact sheets need a folder that can be written, but {out}: {exc.strerror}") from exc
    return tuple(paths)
