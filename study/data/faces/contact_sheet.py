"""Lay a few pictures of every kind out on one labelled sheet."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from study.data.faces.canvas import ByteArray
from study.data.faces.render import render_face
from study.data.faces.sampling import kind_at
from study.data.faces.vocabulary import SHIFTED_SETS

_COLUMNS = 12
_TILE_PX = 112
_GAP_PX = 2
_LABEL_PX = 116
_KIND_ROWS = ("unmasked", "unmasked", "masked", "masked", "nose", "chin")


def contact_sheet(seed: int, counts: Mapping[str, int]) -> ByteArray:
    """Return a sheet of the first images of every kind, uint8 [H, W, 3] RGB.

    Args:
        seed: of the data set.
        counts: images of each split; the sheet shows none beyond them.
    """
    rows: list[ByteArray] = []
    seen: dict[str, int] = {}
    for kind in _KIND_ROWS:
        start = seen.get(kind, 0)
        places = [index for index in range(counts["train"]) if kind_at(seed, "train", index) == kind]
        chosen = places[start : start + _COLUMNS]
        seen[kind] = start + _COLUMNS
        if chosen:
            rows.append(_row(f"train / {kind}", seed, "train", chosen))
    for split in SHIFTED_SETS:
        rows.append(_row(f"{split} / any", seed, split, list(range(min(_COLUMNS, counts[split])))))
    return np.concatenate(rows)


def write_contact_sheet(path: Path, seed: int, counts: Mapping[str, int]) -> None:
    """Write the sheet as PNG."""
    done, data = cv2.imencode(".png", contact_sheet(seed, counts)[..., ::-1])
    assert done, "OpenCV always encodes an 8-bit picture"
    path.write_bytes(data.tobytes())


def _row(label: str, seed: int, split: str, indices: list[int]) -> ByteArray:
    step = _TILE_PX + _GAP_PX
    row = np.full((step, _LABEL_PX + _COLUMNS * step, 3), 255, np.uint8)
    for line, word in enumerate(label.split(" / ")):
        place = (6, _TILE_PX // 2 - 6 + 20 * line)
        cv2.putText(row, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    for column, index in enumerate(indices):
        left = _LABEL_PX + column * step
        row[:_TILE_PX, left : left + _TILE_PX] = render_face(seed, split, index, _TILE_PX).image
    return row
