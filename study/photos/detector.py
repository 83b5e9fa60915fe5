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
_LARGE_PX = (1280, 2560, 6144)
_PADDING = 0.35
_SMALL_FACE_PX = 24
_LEAST_FACE_PX = 8
_TILE_PX = 2560
_TILE_OVERLAP_PX = 256
_MAX_OVERLAP = 0.3
_SAME_FACE = 0.5
_KEEP_ALL = 1.0
_BLUR_PX = 0.8
"""Standard deviation of the blur before the first passes: the network answers noise, so that without it a photograph
that was saved as JPEG in another orientation had boxes 2.4 px away. Small faces in later passes need all there is."""
_MOST_CANDIDATES = 20_000


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
        quiet_opencv()
        self._net = cv2.FaceDetectorYN.create(
            "onnx", _model(), np.array([], np.uint8), (FIRST_PASS_PX, FIRST_PASS_PX), MIN_SCORE, _KEEP_ALL,
            _MOST_CANDIDATES,
        )  # fmt: skip

    def detect(self, photo: Photo) -> list[DetectedFace]:
        """Return every face, the largest first.

        The first pass sees the photograph with a longer side of at most 640 px. Where it finds nothing, the next sees
        it smaller with a border, for faces that fill it. Where nothing or a small face was found, further ones see it
        larger. All but the first must be more certain.

        Raises:
            DataError: the photograph is too small to hold a face.
        """
        if min(photo.shape[:2]) < MIN_SIDE_PX:
            raise DataError(
                f"both sides must be at least {MIN_SIDE_PX} px to hold a face, but it is "
                f"{photo.shape[1]} x {photo.shape[0]}"
            )
        longer = max(photo.shape[:2])
        scale = min(1.0, FIRST_PASS_PX / longer)
        faces = self._look(photo, scale, 0.0, MIN_SCORE, blur=True)
        if not faces:
            faces = self._look(photo, _close_up_scale(longer), _PADDING, RETRY_MIN_SCORE, blur=True)
        for target_px in _LARGE_PX:
            if scale == 1 or (faces and min(face.size_px for face in faces) * scale > _SMALL_FACE_PX):
                break
            scale = min(1.0, target_px / longer)
            faces = _distinct(faces, self._look(photo, scale, 0.0, RETRY_MIN_SCORE))
        return sorted(faces, key=lambda face: -face.size_px)

    def _look(
        self, photo: Photo, scale: float, padding: float, min_score: float, *, blur: bool = False
    ) -> list[DetectedFace]:
        """Return the faces of one pass; ``padding`` is the border of mirrored pixels, as a share of the longer side."""
        height, width = photo.shape[:2]
        size = round(width * scale), round(height * scale)
        if min(size) < _LEAST_FACE_PX:
            return []
        seen = photo if size == (width, height) else _resized(photo, size)
        if blur:
            seen = np.asarray(cv2.GaussianBlur(seen, (5, 5), _BLUR_PX, borderType=cv2.BORDER_REPLICATE), np.uint8)
        border = round(padding * max(size))
        if border:
            padded = cv2.copyMakeBorder(seen, border, border, border, border, cv2.BORDER_REFLECT)
            seen = np.asarray(padded, np.uint8)
        self._net.setScoreThreshold(min_score)
        per_px = np.array((width / size[0], height / size[1]))
        tables = [np.empty((0, 15))]
        for left, top, tile in _tiles(seen):
            self._net.setInputSize((tile.shape[1], tile.shape[0]))
            try:
                _, rows = self._net.detect(np.ascontiguousarray(tile[..., ::-1]))
            except cv2.error as exc:
                raise DataError(f"OpenCV cannot look for faces in {width} x {height} px: {exc}") from exc
            if rows is not None:
                tables.append(_in_photo(np.asarray(rows, np.float64), np.array((left - border, top - border)), per_px))
        faces = [_face(row) for row in _merged(np.concatenate(tables))]
        return [face for face in faces if _is_inside(face.box, width, height)]


def quiet_opencv() -> None:
    """Keep warnings off the screen: of a setting that OpenCV 5 makes itself, of cameras that are not there."""
    if hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def _close_up_scale(longer_px: int) -> float:
    """Return the scale for a face that fills its photograph, which may be tiny."""
    return min(max(1.0, _TINY_PX / longer_px), _CLOSE_UP_PX / longer_px)


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


def _in_photo(
    rows: npt.NDArray[np.float64], origin: npt.NDArray[np.int64], per_px: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return YuNet's rows, [N, 15], as left, top, right, bottom, five points and score in pixels of the photograph."""
    corners = np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 4:14]), axis=1)
    points = (corners.reshape(-1, 7, 2) + origin) * per_px
    return np.concatenate((points.reshape(-1, 14), rows[:, 14:]), axis=1)


def _merged(rows: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """Return one row for each face: the mean of those that lie nearly alike, weighted by score, with the best score.

    Plain suppression keeps one of several nearly as certain, and which one changes with the least change of a pixel.
    """
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    faces = []
    while len(rows):
        overlap = _overlaps(rows[0], rows)
        overlap[0] = 1.0  # even of a box without an area
        alike = rows[overlap > _SAME_FACE]
        weights = np.square(alike[:, 14:])
        faces.append(np.append((alike[:, :14] * weights).sum(axis=0) / weights.sum(), rows[0, 14]))
        rows = rows[overlap <= _MAX_OVERLAP]
    return faces


def _overlaps(row: npt.NDArray[np.float64], rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the intersection over the union of a row's box and those of others; 1 for the row itself."""
    sides = np.minimum(row[2:4], rows[:, 2:4]) - np.maximum(row[:2], rows[:, :2])
    shared = np.maximum(sides, 0.0).prod(axis=1)
    areas = (rows[:, 2:4] - rows[:, :2]).prod(axis=1) + (row[2:4] - row[:2]).prod()
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), np.float64)


def _distinct(faces: Sequence[DetectedFace], others: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Return faces, and of others those that lie on none of them."""
    boxes = np.array([face.box for face in faces]).reshape(-1, 4)
    return [*faces, *(other for other in others if (_overlaps(np.array(other.box), boxes) <= _MAX_OVERLAP).all())]


def _face(row: npt.NDArray[np.float64]) -> DetectedFace:
    return DetectedFace(Box(*row[:4].tolist()), row[4:14].reshape(5, 2), float(row[14]))


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
