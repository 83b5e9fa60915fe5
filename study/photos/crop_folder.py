"""Write every face of a folder of photographs as a picture of its own: `study data crop`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from study.data.decode import read_photo
from study.data.framing import Framing, write_framing
from study.errors import DataError
from study.files import staged_folder
from study.photos.alignment import centre_square, cut_square, face_square
from study.photos.contact_sheet import Tile, write_contact_sheets
from study.photos.detector import FaceDetector
from study.photos.face_files import (
    FaceRow,
    SourcePhoto,
    as_jpeg,
    find_photos,
    for_each_photo,
    require_output,
    write_picture,
    write_table,
)


@dataclass(frozen=True)
class CropSummary:
    """What was written.

    ``faces`` counts pictures of faces; ``without_face`` names the photographs whose centre was cut out instead;
    ``unreadable`` has "name: reason"; ``ignored`` counts by suffix or reason what is no picture.
    """

    out: Path
    photos: int
    faces: int
    without_face: tuple[str, ...]
    unreadable: tuple[str, ...]
    ignored: Mapping[str, int]
    contact_sheets: tuple[Path, ...]


def crop_folder(source: Path, out: Path, size_px: int, framing: Framing, *, workers: int | None = None) -> CropSummary:
    """Write ``OUT/<folders as in SOURCE>/<name>-<number>.jpg`` with a table, the framing and contact sheets.

    A photograph without a face gives its centre, number 0. One that cannot be read is a row of the table.

    Args:
        source: a folder of photographs, or one photograph.
        out: a folder that is new or empty.
        size_px: side of the pictures.
        framing: how the faces lie in them.
        workers: threads; None takes the cores this process may use.

    Raises:
        DataError: there are no photographs, or the output is not empty or cannot be written.
    """
    require_output(out, source)
    photos, ignored = find_photos(source)

    def cut(photo: SourcePhoto, detector: FaceDetector) -> list[tuple[FaceRow, bytes]]:
        return _cut(photo, detector, size_px, framing)

    rows: list[FaceRow] = []
    try:
        with staged_folder(out) as staging:
            for of_photo in for_each_photo(photos, cut, workers):
                for row, contents in of_photo:
                    rows.append(row)
                    if row.file:
                        write_picture(staging / row.file, contents)
            tiles = [_tile(staging, row) for row in rows if row.file]
            sheets = write_contact_sheets(staging, "faces", tiles)
            write_table(staging, rows)
            write_framing(staging, framing)
    except OSError as exc:
        raise DataError(f"the output folder must be writable, but {out}: {exc.strerror}") from exc
    return CropSummary(
        out,
        len(photos),
        sum(row.status == "face" for row in rows),
        tuple(row.source for row in rows if row.status == "no face"),
        tuple(f"{row.source}: {row.reason}" for row in rows if row.status == "unreadable"),
        ignored,
        tuple(out / path.relative_to(staging) for path in sheets),
    )


def _cut(photo: SourcePhoto, detector: FaceDetector, size_px: int, framing: Framing) -> list[tuple[FaceRow, bytes]]:
    name = photo.file.name
    try:
        pixels = read_photo(photo.file.path)
        faces = detector.detect(pixels)
    except DataError as exc:
        return [(FaceRow(name, "", "unreadable", str(exc)), b"")]
    if not faces:
        picture = cut_square(pixels, centre_square(pixels), size_px)
        return [(FaceRow(name, f"{photo.stem}-0.jpg", "no face", "the centre was cut out"), as_jpeg(picture))]
    return [
        (
            FaceRow(name, f"{photo.stem}-{number}.jpg", "face", face=face),
            as_jpeg(cut_square(pixels, face_square(face, framing), size_px)),
        )
        for number, face in enumerate(faces, 1)
    ]


def _tile(folder: Path, row: FaceRow) -> Tile:
    return Tile(folder / row.file, row.file.removesuffix(".jpg"), row.status == "no face")
