"""Read a folder of photographs and write a folder of faces: names, a table of what was found, several at once."""

from __future__ import annotations

import csv
import io
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, TypeVar

import cv2

from study.data.decode import quiet_pillow
from study.data.image_files import ImageFile, find_images
from study.errors import DataError
from study.files import write_atomic, write_text_atomic
from study.photos.detector import DetectedFace, FaceDetector, Photo
from study.utils.cpus import available_cores
from study.utils.text import printable

TABLE = "faces.csv"
JPEG_QUALITY = 95
VECTOR_SUFFIXES = frozenset({".svg", ".svgz", ".eps", ".ps", ".pdf", ".ai", ".wmf", ".emf"})
_LONGEST_STEM = 180
_POINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")
_COLUMNS = (
    "source", "file", "status", "reason", "class", "kind", "fit", "score", "left", "top", "right", "bottom",
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
)  # fmt: skip

Status = Literal["face", "no face", "too small", "unreadable", "discarded"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SourcePhoto:
    """A photograph; ``stem`` is the place of its faces below an output folder, without number and suffix."""

    file: ImageFile
    stem: str


@dataclass(frozen=True)
class FaceRow:
    """A row of the table: a file that was written, or why there is none.

    ``file`` is relative to the output folder, empty where nothing was written; the last three are of drawn masks.
    """

    source: str
    file: str
    status: Status
    reason: str = ""
    face: DetectedFace | None = None
    class_name: str = ""
    kind: str = ""
    fit: str = ""


def find_photos(source: Path) -> tuple[list[SourcePhoto], Counter[str]]:
    """Return the photographs of a folder, or the one that a path names, sorted by name, and what is not read.

    Raises:
        DataError: there are none, or a folder cannot be read.
    """
    ignored: Counter[str] = Counter()
    if source.is_dir():
        files = find_images(source, source, ignored, also=VECTOR_SUFFIXES)
    elif source.exists():
        files = [ImageFile(source, source.name, source.stat().st_size, 0)]
    else:
        raise DataError(f"the photographs must be a folder or a file, but there is no {printable(str(source))}")
    if not files:
        raise DataError(f"no pictures found below {printable(str(source))}; name the folder that holds them")
    stems = Counter(_stem(file.name) for file in files)
    # Two pictures that differ in nothing but the suffix keep it; where that is another one's name, all do.
    names = [_stem(file.name) if stems[_stem(file.name)] == 1 else file.name for file in files]
    if len(set(names)) < len(names):
        names = [file.name for file in files]
    return [SourcePhoto(file, _shortened(name)) for file, name in zip(files, names, strict=True)], ignored


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.rpartition('.')[0] or last}"


def _shortened(name: str) -> str:
    """Leave room for a number and a suffix in a name that a file system may hold."""
    folder, slash, last = name.rpartition("/")
    if len(last.encode()) <= _LONGEST_STEM:
        return name
    short = last.encode()[: _LONGEST_STEM - 10].decode(errors="ignore")
    return f"{folder}{slash}{short}.{sha256(last.encode()).hexdigest()[:8]}"


def require_output(out: Path, source: Path) -> None:
    """Check that faces can be written to a folder.

    Raises:
        DataError: it is a file, is not empty, or lies among the photographs.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"the output must be a new or empty folder, but {out} is not; name another one")
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise DataError(f"the output must not lie among the photographs, but {out} lies in {source}; name another one")


def for_each_photo(
    photos: Sequence[Item],
    work: Callable[[Item, FaceDetector], Result],
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield the result of each photograph in order, with a detector for each thread; None takes all cores.

    Threads, because Pillow and OpenCV let go of the interpreter lock while they decode, look and resize.
    """
    own = threading.local()

    def run(photo: Item) -> Result:
        if not hasattr(own, "detector"):
            own.detector = FaceDetector()
        return work(photo, own.detector)

    threads = workers or available_cores()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads, thread_name_prefix="faces") as pool:
        quiet_pillow()
        yield from pool.map(run, photos)


def as_jpeg(picture: Photo) -> bytes:
    """Return a picture as the contents of a JPEG file."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "OpenCV always encodes an 8-bit picture"
    return data.tobytes()


def write_picture(path: Path, contents: bytes) -> None:
    """Write the contents of a picture's file, whole or not at all."""
    write_atomic(path, lambda file: file.write(contents), sync=False)


def write_table(folder: Path, rows: Sequence[FaceRow]) -> None:
    """Write the table of what was found, in pixels of the upright photographs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        face = row.face
        numbers = [] if face is None else [*face.box, *face.landmarks.ravel().tolist()]
        shown = [] if face is None else [f"{face.score:.4f}", *(f"{number:.2f}" for number in numbers)]
        words = [row.source, row.file, row.status, row.reason, row.class_name, row.kind, row.fit]
        empty = [""] * (len(_COLUMNS) - len(words) - len(shown))
        writer.writerow([*map(printable, words), *shown, *empty])
    write_text_atomic(folder / TABLE, text.getvalue())
