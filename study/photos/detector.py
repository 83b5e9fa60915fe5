"""Find the faces in a photograph, with five landmarks each: YuNet through OpenCV."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from study.errors import DataError

Photo = npt.NDArray[np.uint8]
"""uint8 RGB [H, W, 3], upright."""

MODEL = Path(__file__).parent / "yunet" / "face_detection_yunet_2023mar_int8bq.onnx"
MODEL_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
FIRST_PASS_PX = 640
MIN_SCORE = 0.5
RETRY_MIN_SCORE = 0.7
"""At 0.5 the retries find faces where there are none."""
MIN_SIDE_PX = 16
_CLOSE_UP_PX = 320
_TINY_PX = 112
_LARGE_PX = (1280, 2560, 5120)
_PADDING = 0.35
_TILE_PX = 2560
_TILE_OVERLAP_PX = 256
_MAX_OVERLAP = 0.3
_MOST_FACES = 5000


class Box(NamedTuple):
    """A rectangle in pixels of a photograph; it may reach over the border."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class DetectedFace:
    """A face in pixels of its photograph.

    ``landmarks`` are [5, 2] x, y: the person's right eye (left in the picture), left eye, nose tip, right and left
    corner of the mouth; ``score`` is in [0, 1].
    """

    box: Box
    landmarks: npt.NDArray[np.float64]
    score: float

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        return max(self.box.right - self.box.left, self.box.bottom - self.box.top)


class FaceDetector:
    """Finds faces; keep one for each thread."""

    def __init__(self) -> None:
        # Every thread that looks for faces has a detector of its own; threads within them only cost.
        cv2.setNumThreads(1)
        # OpenCV 5 warns about a setting that it makes itself.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        self._net = cv2.FaceDetectorYN.create(
            "onnx", _model(), np.array([], np.uint8), (FIRST_PASS_PX, FIRST_PASS_PX), MIN_SCORE, _MAX_OVERLAP,
            _MOST_FACES,
        )  # fmt: skip

    def detect(self, photo: Photo) -> list[DetectedFace]:
        """Return every face, the largest first.

        The first pass sees the photograph with a longer side of at most 640 px. Where it finds nothing, others see it
        smaller with a border, for faces that fill it, or larger, and must be more certain.

        Raises:
            DataError: the photograph is too small to hold a face.
        """
        if min(photo.shape[:2]) < MIN_SIDE_PX:
            raise DataError(
                f"both sides must be at least {MIN_SIDE_PX} px to hold a face, but it is "
                f"{photo.shape[1]} x {photo.shape[0]}"
            )
        longer = max(photo.shape[:2])
        faces = self._look(photo, min(1.0, FIRST_PASS_PX / longer), 0.0, MIN_SCORE)
        for scale, padding in () if faces else _retries(longer):
            if faces := self._look(photo, scale, padding, RETRY_MIN_SCORE):
                break
        return sorted(faces, key=lambda face: -face.size_px)

    def _look(self, photo: Photo, scale: float, padding: float, min_score: float) -> list[DetectedFace]:
        """Return the faces of one pass; ``padding`` is the border of mirrored pixels, as a share of the longer side."""
        height, width = photo.shape[:2]
        size = max(1, round(width * scale)), max(1, round(height * scale))
        seen = photo if size == (width, height) else _resized(photo, size)
        border = round(padding * max(size))
        if border:
            padded = cv2.copyMakeBorder(seen, border, border, border, border, cv2.BORDER_REFLECT)
            seen = np.asarray(padded, np.uint8)
        self._net.setScoreThreshold(min_score)
        per_px = np.array((width / size[0], height / size[1]))
        faces = []
        for left, top, tile in _tiles(seen):
            self._net.setInputSize((tile.shape[1], tile.shape[0]))
            try:
                _, rows = self._net.detect(np.ascontiguousarray(tile[..., ::-1]))
            except cv2.error as exc:
                raise DataError(f"OpenCV cannot look for faces in {width} x {height} px: {exc}") from exc
            corner = np.array((left - border, top - border))
            faces += [_face(row, corner, per_px) for row in np.asarray(rows if rows is not None else (), np.float64)]
        return _distinct([face for face in faces if _is_inside(face.box, width, height)])


def _retries(longer_px: int) -> Iterator[tuple[float, float]]:
    """Yield scale and padding of the passes after the first."""
    yield min(max(1.0, _TINY_PX / longer_px), _CLOSE_UP_PX / longer_px), _PADDING
    for target_px in _LARGE_PX:
        if longer_px > FIRST_PASS_PX:
            yield min(1.0, target_px / longer_px), 0.0
        if longer_px <= target_px:
            return


def _tiles(picture: Photo) -> Iterator[tuple[int, int, Photo]]:
    """Yield left, top and pixels of overlapping parts of a picture whose memory the network can be given."""
    lefts, tops = _tile_starts(picture.shape[1]), _tile_starts(picture.shape[0])
    for top in tops:
        for left in lefts:
            yield left, top, picture[top : top + _TILE_PX, left : left + _TILE_PX]


def _tile_starts(length: int) -> list[int]:
    if length <= _TILE_PX:
        return [0]
    count = 1 + math.ceil((length - _TILE_PX) / (_TILE_PX - _TILE_OVERLAP_PX))
    return [round(at * (length - _TILE_PX) / (count - 1)) for at in range(count)]


def _distinct(faces: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Return the faces without those that lie on a more certain one, as parts that overlap find them twice."""
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda each: -each.score):
        if all(_overlap(face.box, other.box) <= _MAX_OVERLAP for other in kept):
            kept.append(face)
    return kept


def _overlap(first: Box, second: Box) -> float:
    """Return the intersection over the union."""
    wide = min(first.right, second.right) - max(first.left, second.left)
    tall = min(first.bottom, second.bottom) - max(first.top, second.top)
    shared = max(0.0, wide) * max(0.0, tall)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (first, second))
    return shared / max(areas - shared, 1e-9)


def _face(row: npt.NDArray[np.float64], origin: npt.NDArray[np.int64], per_px: npt.NDArray[np.float64]) -> DetectedFace:
    """Return the face of a row of YuNet: left, top, width, height, five points, score."""
    corner, size = (row[:2] + origin) * per_px, row[2:4] * per_px
    box = Box(*corner.tolist(), *(corner + size).tolist())
    return DetectedFace(box, (row[4:14].reshape(5, 2) + origin) * per_px, float(row[14]))


def _is_inside(box: Box, width: int, height: int) -> bool:
    """Whether the middle of a box is in the photograph, not in its mirrored border."""
    return 0 <= box.left + box.right <= 2 * width and 0 <= box.top + box.bottom <= 2 * height


def _resized(photo: Photo, size: Sequence[int]) -> Photo:
    shrinks = size[0] < photo.shape[1]
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8)


@lru_cache(maxsize=1)
def _model() -> npt.NDArray[np.uint8]:
    """Return the bytes of the model.

    Raises:
        DataError: they are missing or not those that the package ships.
    """
    try:
        contents = MODEL.read_bytes()
    except OSError as exc:
        raise DataError(
            f"the face detector must lie in {MODEL}, but cannot be read: {exc.strerror}; install the package again"
        ) from exc
    if (digest := hashlib.sha256(contents).hexdigest()) != MODEL_SHA256:
        raise DataError(
            f"the face detector in {MODEL} must have the SHA-256 {MODEL_SHA256}, but has {digest}; "
            "install the package again"
        )
    return np.frombuffer(contents, np.uint8)
