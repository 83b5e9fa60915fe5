"""Photographs for tests: drawn faces that the detector finds, on a plain ground, with their true landmarks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.data.synthetic_faces.render import frame_of, paint
from study.data.synthetic_faces.sampling import describe

Photo = npt.NDArray[np.uint8]
FACES = (35, 2, 18, 40, 44, 48, 19, 33, 59, 5)
"""Unmasked faces of split train, seed 0."""


class Placed(NamedTuple):
    """A face of ``FACES`` in a photograph: the corner and the side of its picture, about 1.9 times the face's box."""

    face: int
    left: int
    top: int
    side_px: int


@lru_cache(maxsize=64)
def _painted(face: int, side_px: int) -> Photo:
    return np.clip(paint(describe(0, "train", FACES[face]), side_px), 0, 255).astype(np.uint8)


def photograph(width: int, height: int, faces: Sequence[Placed], ground: int = 120) -> Photo:
    """Return a photograph with faces on a slightly uneven ground."""
    row = (ground + np.linspace(-12, 12, width)).astype(np.uint8)
    photo = np.repeat(np.repeat(row[None, :, None], height, axis=0), 3, axis=2)
    for face, left, top, side_px in faces:
        photo[top : top + side_px, left : left + side_px] = _painted(face, side_px)
    return photo


def landmarks(placed: Placed) -> npt.NDArray[np.float64]:
    """Return the true landmarks of a face, [5, 2] in pixels of its photograph, in the detector's order."""
    marks = frame_of(describe(0, "train", FACES[placed.face]), placed.side_px).landmarks()
    points = np.array((*marks.eyes, marks.nose_tip, *marks.mouth))
    return np.asarray(points + np.array((placed.left, placed.top)), np.float64)


def portrait(face: int = 0, side_px: int = 224) -> Photo:
    """Return a photograph of one face with room around it."""
    return photograph(side_px * 2, side_px * 2, [Placed(face, side_px // 2, side_px // 3, side_px)])


def save(photo: Photo, path: Path, **options: object) -> Path:
    """Write a photograph in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path, **options)  # type: ignore[arg-type]
    return path


def table(folder: Path) -> list[dict[str, str]]:
    """Read the table of faces that a command wrote."""
    with (folder / "faces.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path: Path) -> npt.NDArray[np.int64]:
    with Image.open(path) as picture:
        return np.asarray(picture, np.int64)
