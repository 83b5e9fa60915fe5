"""Read the frames of a video or a camera, write frames as a video, show them in a window: OpenCV."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import cv2
import numpy as np

from study.errors import DataError
from study.photos.detector import Photo, quiet_opencv
from study.utils.text import printable

USUAL_RATE = 30.0
"""Frames a second of a source that names none."""
_HIGHEST_RATE = 240.0
_CODEC = "mp4v"
"""What OpenCV's wheels can write; H.264 is not among it."""
_KEYS_TO_END = (ord("q"), 27)


class VideoSource:
    """The frames of a video file or a camera, uint8 RGB; close it, or use it in ``with``.

    ``rate`` is frames a second, ``count`` about how many there are, None for a camera, ``size`` width and height.
    """

    def __init__(self, place: int | Path) -> None:
        """Open it and read the first frame.

        Args:
            place: the number of a camera, or a file.

        Raises:
            DataError: there is no such camera or file, or it gives no frame.
        """
        quiet_opencv()
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # or it writes its own errors beside ours
        name = f"camera {place}" if isinstance(place, int) else printable(str(place))
        law = "--camera must be the number of a camera or a video file"
        if isinstance(place, Path) and not place.is_file():
            fault = f"{name} is no file" if place.exists() else f"there is no file {name}"
            raise DataError(f"{law}, but {fault}; name one that there is")
        try:
            self._capture = cv2.VideoCapture(place) if isinstance(place, int) else cv2.VideoCapture(str(place))
        except cv2.error as exc:  # a number larger than OpenCV takes
            raise DataError(f"{law}, but {name} cannot be opened; name another one") from exc
        read, frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not read or frame is None:
            self._capture.release()
            fault = "cannot be opened" if isinstance(place, int) else "has no frame that can be read"
            raise DataError(f"{law}, but {name} {fault}; name another one")
        self._first: Photo | None = _rgb(frame)
        self.size = frame.shape[1], frame.shape[0]
        rate, count = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.rate = rate if math.isfinite(rate) and 1 <= rate <= _HIGHEST_RATE else USUAL_RATE
        self.count = round(count) if isinstance(place, Path) and math.isfinite(count) and count >= 1 else None

    def __iter__(self) -> Iterator[Photo]:
        """Yield the frames until there are no more."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        while True:
            read, frame = self._capture.read()
            if not read:
                return
            yield _rgb(frame)

    def close(self) -> None:
        """Let go of the file or camera."""
        self._capture.release()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def written_video(path: Path, size: tuple[int, int], rate: float) -> Iterator[Callable[[Photo], None]]:
    """Write frames as a video (MPEG-4, without sound) that appears under its name when it is whole.

    An interrupt ends it too; after any other error nothing is left. OpenCV drops the last row or column of odd sizes.

    Args:
        path: of the .mp4; an earlier one is replaced.
        size: width and height of the frames.
        rate: frames a second.

    Raises:
        DataError: it cannot be written, or a frame has another size.
    """
    partial = path.with_name(f".{path.stem}.{uuid4().hex}.part.mp4")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"")  # OpenCV does not say why it cannot
    except OSError as exc:
        raise DataError(f"the video must be writable, but {path}: {exc.strerror}; name another place") from exc
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*_CODEC), rate, size)
    frames = 0

    def write(frame: Photo) -> None:
        nonlocal frames
        if frame.shape[1::-1] != size:
            raise DataError(f"all frames must have one size, but after {size} came {frame.shape[1::-1]}")
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
        frames += 1

    try:
        if not writer.isOpened():
            raise DataError(f"OpenCV must be able to write MPEG-4, but cannot write {path} of {size[0]} x {size[1]} px")
        yield write
    except Exception:
        writer.release()
        partial.unlink(missing_ok=True)
        raise
    except BaseException:
        _finish(writer, partial, path, frames)
        raise
    _finish(writer, partial, path, frames)


def _finish(writer: cv2.VideoWriter, partial: Path, path: Path, frames: int) -> None:
    writer.release()
    written = cv2.VideoCapture(str(partial))
    whole = written.isOpened() and round(written.get(cv2.CAP_PROP_FRAME_COUNT)) == frames
    written.release()
    if not whole:  # OpenCV tells nobody of a full disk
        partial.unlink(missing_ok=True)
        raise DataError(f"{path} must hold {frames} frames, but the system wrote fewer; is the disk full?")
    partial.replace(path)


def has_display() -> bool:
    """Whether OpenCV can show a window: opencv-python-headless cannot, nor can a machine without a screen."""
    screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return screen and bool(cv2.currentUIFramework())


def show_frame(title: str, frame: Photo) -> bool:
    """Show a frame in a window; return whether to go on, which q and Esc end."""
    cv2.imshow(title, np.ascontiguousarray(frame[..., ::-1]))
    return cv2.waitKey(1) & 0xFF not in _KEYS_TO_END


def _rgb(frame: object) -> Photo:
    return np.ascontiguousarray(np.asarray(frame, np.uint8)[..., ::-1])
