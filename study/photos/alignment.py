"""Cut a square around a face as a framing says; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from study.data.framing import Framing
from study.photos.detector import DetectedFace, Photo

_LEAST_UNIT = 0.2
"""Of the box: what the distance from eyes to mouth is at least, whatever the landmarks say."""
_SPARE_PX = 3
_SAMPLES = 3
"""Samples per side of a pixel: with three, a pixel differs by about one grey level from the mean of its area."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FaceSquare:
    """A square in a photograph; its own axes are turned clockwise by ``roll_rad``."""

    centre: tuple[float, float]
    side_px: float
    roll_rad: float = 0.0

    def to_photo(self, points: Points) -> Points:
        """Map [n, 2] fractions of the side, from the square's upper left corner, to pixels of the photograph."""
        return np.asarray(self.centre + (points - 0.5) * self.side_px @ self._turn(), np.float64)

    def to_square(self, points: Points) -> Points:
        """Map [n, 2] pixels of the photograph to fractions of the side."""
        return np.asarray((points - self.centre) / self.side_px @ self._turn().T + 0.5, np.float64)

    def _turn(self) -> Points:
        """Return the matrix that turns row vectors of the square into those of the photograph."""
        cosine, sine = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return np.array(((cosine, sine), (-sine, cosine)))


def face_square(face: DetectedFace, framing: Framing) -> FaceSquare:
    """Return the square that shows a face in a framing."""
    left, top, right, bottom = face.box
    if framing.kind == "box":
        return FaceSquare(((left + right) / 2, (top + bottom) / 2), face.size_px * (1 + 2 * framing.margin))
    eyes, mouth = face.landmarks[:2], face.landmarks[3:]
    down = mouth.mean(axis=0) - eyes.mean(axis=0)
    across = eyes[1] - eyes[0]
    # The eye line turns with the head too; adding it steadies the roll of frontal faces.
    roll_rad = math.atan2(across[1] - down[0], across[0] + down[1])
    side_px = max(math.hypot(*down), _LEAST_UNIT * (bottom - top)) / framing.span
    middle = (eyes.mean(axis=0) + mouth.mean(axis=0)) / 2
    aside = FaceSquare((0.0, 0.0), side_px, roll_rad).to_photo(np.array(((framing.x, framing.y),)))[0]
    x, y = (middle - aside).tolist()
    return FaceSquare((x, y), side_px, roll_rad)


def centre_square(photo: Photo) -> FaceSquare:
    """Return the largest square in the middle of a photograph."""
    height, width = photo.shape[:2]
    return FaceSquare((width / 2, height / 2), min(height, width))


def cut_square(photo: Photo, square: FaceSquare, size_px: int) -> Photo:
    """Return a square of a photograph, uint8 RGB [size_px, size_px, 3]; beyond the border its last pixels go on.

    A pixel of a shrunk square is the mean of up to ``_SAMPLES`` x ``_SAMPLES`` samples, of the photograph or of means
    over its blocks, which lie on a grid of the photograph: the picture changes evenly with the square. A square of
    ``size_px`` or less is enlarged with a bicubic filter.
    """
    samples = min(_SAMPLES, max(1, math.ceil(square.side_px / size_px)))
    size = np.array((photo.shape[1], photo.shape[0]))
    block_px = min(max(1, math.ceil(square.side_px / (samples * size_px))), int(size.min()))
    corners = square.to_photo(np.array(((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)))) / block_px
    # The blocks that the square touches, with some more, but at least one where it lies outside.
    whole = size // block_px
    first = np.clip(np.floor(corners.min(axis=0)).astype(int) - _SPARE_PX, 0, whole - 1)
    last = np.clip(np.ceil(corners.max(axis=0)).astype(int) + _SPARE_PX, first + 1, whole)
    (left, top), (right, bottom) = first * block_px, last * block_px
    part = photo[top:bottom, left:right]
    if block_px > 1:
        part = np.asarray(cv2.resize(part, (last - first).tolist(), interpolation=cv2.INTER_AREA), np.uint8)
    # Pixels count from their middles: sample i lies at (i + 0.5) / sampled_px of the side.
    sampled_px = samples * size_px
    grid = np.array(((0.5, 0.5), (1.5, 0.5), (0.5, 1.5))) / sampled_px
    origin, across, down = square.to_photo(grid) / block_px - first - 0.5
    matrix = np.stack((across - origin, down - origin, origin), axis=1)  # [2, 3]
    filter_ = cv2.INTER_CUBIC if samples == 1 else cv2.INTER_LINEAR
    sampled = cv2.warpAffine(
        part, matrix, (sampled_px, sampled_px), flags=filter_ | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    if samples > 1:
        sampled = cv2.resize(sampled, (size_px, size_px), interpolation=cv2.INTER_AREA)
    return np.asarray(sampled, np.uint8)


def enlarged(picture: Photo, size_px: int) -> Photo:
    """Return a square picture with ``size_px`` a side; the same one if it has them."""
    if picture.shape[0] == size_px:
        return picture
    return np.asarray(cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.uint8)
