"""Write rendered faces as a folder of JPEG files, one folder per split and class."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from study.data.synthetic_faces.batch import Chunk, chunked, run_chunks
from study.data.synthetic_faces.drawing import ByteArray
from study.data.synthetic_faces.render import check_request, render_face
from study.data.synthetic_faces.sampling import kind_at
from study.data.synthetic_faces.vocabulary import CLASSES, MIN_COUNT, ORDINARY_SPLITS, SHIFTED_SETS, shifted_count
from study.errors import DataError

_COLUMNS = 12
_TILE_PX = 112
_GAP_PX = 2
_LABEL_PX = 116
_KIND_ROWS = ("unmasked", "unmasked", "masked", "masked", "nose", "chin")


def contact_sheet(seed: int, counts: Mapping[str, int]) -> ByteArray:
    """Return a sheet of the first images of every kind, among those counted by split: uint8 RGB [H, W, 3]."""
    rows: list[ByteArray] = []
    unseen: dict[str, list[int]] = {kind: [] for kind in _KIND_ROWS}
    for index in range(counts["train"]):
        unseen[kind_at(seed, "train", index)].append(index)
    for kind in _KIND_ROWS:
        chosen, unseen[kind] = unseen[kind][:_COLUMNS], unseen[kind][_COLUMNS:]
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


_JPEG_QUALITY = 90


@dataclass(frozen=True)
class FolderSummary:
    """What was written: images by split and class, shifted sets by their plain names, and a few of every kind."""

    root: Path
    counts: Mapping[str, Mapping[str, int]]
    contact_sheet: Path


def split_counts(count: int) -> dict[str, int]:
    """Divide `count` images 60:20:20 and add a tenth, at least 40, for each shifted set."""
    held_out = round(0.2 * count)
    ordinary = dict(zip(ORDINARY_SPLITS, (count - 2 * held_out, held_out, held_out), strict=True))
    return ordinary | dict.fromkeys(SHIFTED_SETS, shifted_count(count))


def write_folder(out: Path, count: int, seed: int = 0, size_px: int = 112, workers: int | None = None) -> FolderSummary:
    """Write `OUT/{train,val,test}/<class>/NNNNN_<kind>.jpg`, `OUT/shifted/<name>/<class>/` and a contact sheet.

    Everything is written beside `out` and moved there when complete.

    Args:
        out: a folder that does not exist yet or is empty.
        count: images of the ordinary splits together, at least 40.
        seed: of the data set, not negative.
        size_px: side of the pictures.
        workers: processes; None takes the cores this process may use.

    Raises:
        DataError: `out` is not empty, or an argument is out of range.
    """
    _check(out, count)
    check_request(seed, ORDINARY_SPLITS[0], size_px)
    counts = split_counts(count)
    partial_out = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        _make_folders(partial_out, counts)
        written = {split: dict.fromkeys(CLASSES, 0) for split in counts}
        work = partial(_write_chunk, partial_out)
        for chunk, classes in run_chunks(work, list(chunked(seed, counts, size_px)), workers):
            for class_name, images in classes.items():
                written[chunk.split][class_name] += images
        write_contact_sheet(partial_out / "contact_sheet.png", seed, counts)
        if out.exists():
            out.rmdir()
        os.replace(partial_out, out)
    except BaseException:
        shutil.rmtree(partial_out, ignore_errors=True)
        raise
    return FolderSummary(out, written, out / "contact_sheet.png")


def _check(out: Path, count: int) -> None:
    if count < MIN_COUNT:
        raise DataError(f"`count` must be >= {MIN_COUNT}, got {count}: fewer leave a class of a split without images")
    if out.exists() and not out.is_dir():
        raise DataError(f"the output must be a folder, but {out} is a file: name another place")
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"the output folder must be new or empty, but {out} holds files: empty it or name another one")


def folder_of(root: Path, split: str, class_name: str) -> Path:
    """Return where the images of a split and a class lie."""
    return root / "shifted" / split / class_name if split in SHIFTED_SETS else root / split / class_name


def _make_folders(root: Path, counts: Mapping[str, int]) -> None:
    try:
        for split in counts:
            for class_name in CLASSES:
                folder_of(root, split, class_name).mkdir(parents=True)
    except OSError as exc:
        raise DataError(f"the output folder must be writable, but {root.parent} is not: {exc.strerror}") from exc


def _write_chunk(root: Path, chunk: Chunk) -> Counter[str]:
    """Render and write one chunk; return how many images went to each class."""
    classes: Counter[str] = Counter()
    for index in range(chunk.start, chunk.stop):
        face = render_face(chunk.seed, chunk.split, index, chunk.size_px)
        path = folder_of(root, chunk.split, CLASSES[face.label]) / f"{index:05d}_{face.kind}.jpg"
        done, data = cv2.imencode(".jpg", face.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done, "OpenCV always encodes an 8-bit picture"
        try:
            path.write_bytes(data.tobytes())
        except OSError as exc:
            raise DataError(f"cannot write {path}: {exc.strerror}; free some space or name another folder") from exc
        classes[CLASSES[face.label]] += 1
    return classes
