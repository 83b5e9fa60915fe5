"""Write the faces of a folder of photographs with and without a drawn mask: `study data mask`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from study.config.study_config import stable_seed
from study.data.decode import read_photo
from study.data.folder_layout import split_names
from study.data.framing import Framing, write_framing
from study.data.synthetic_faces.drawing import pick, stream
from study.data.synthetic_faces.sampling import sample_mask_look
from study.data.synthetic_faces.vocabulary import CLASSES, ORDINARY_PATTERNS, MaskKind, MaskLook, MaskMode
from study.errors import DataError
from study.files import staged_folder
from study.photos.alignment import cut_square, enlarged, face_square
from study.photos.contact_sheet import Tile, write_contact_sheets
from study.photos.detector import DetectedFace, FaceDetector, Photo
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
from study.photos.masks import draw_mask, landmarks_in
from study.utils.text import printable

UNMASKED, MASKED = CLASSES
IMPROPER = "improper"
LEAST_FACE_PX = 16
SHOWN = 10


@dataclass(frozen=True)
class MaskWish:
    """Which masks to draw; ``fits`` are the shares of each way to wear one and add up to 1."""

    kinds: Sequence[MaskKind]
    fits: Mapping[MaskMode, float]
    seed: int


@dataclass(frozen=True)
class MaskSummary:
    """What was written: pictures by class, and by "kind/fit" of their mask.

    ``without_face`` names the photographs no face was found in, ``unreadable`` has "name: reason", ``discarded`` counts
    what was left out, ``ignored`` counts by suffix or reason what is no picture; ``group_by`` keeps all pictures of
    one photograph in one split.
    """

    out: Path
    photos: int
    counts: Mapping[str, int]
    masks: Mapping[str, int]
    without_face: tuple[str, ...]
    unreadable: tuple[str, ...]
    discarded: int
    ignored: Mapping[str, int]
    contact_sheets: tuple[Path, ...]
    group_by: str


def mask_folder(
    source: Path,
    out: Path,
    size_px: int,
    framing: Framing,
    wish: MaskWish,
    *,
    discard: Collection[str] = (),
    workers: int | None = None,
) -> MaskSummary:
    """Write ``OUT/{not_wearing_mask,wearing_mask,improper}/<name>-<number>.jpg``, below the splits that SOURCE has.

    Every face is written as it is and once with a mask, both through the same cut and JPEG. A mask depends on the
    seed, the photograph's name and the face's number alone.

    Args:
        source: a folder of photographs of people without masks, or one photograph.
        out: a folder that is new or empty.
        size_px: side of the pictures.
        framing: how the faces lie in them.
        wish: which masks to draw.
        discard: files not to write, as the table or the contact sheets name them.
        workers: threads; None takes the cores this process may use.

    Raises:
        DataError: there are no photographs, the output is not empty or cannot be written, or a file to discard is none.
    """
    require_output(out, source)
    photos, ignored = find_photos(source)
    splits = split_names(sorted({photo.stem.partition("/")[0] for photo in photos if "/" in photo.stem}))

    def paint(photo: SourcePhoto, detector: FaceDetector) -> list[tuple[FaceRow, bytes]]:
        return _paint(photo, detector, size_px, framing, wish, splits)

    rows: list[FaceRow] = []
    discarded = _Discarded(discard)
    try:
        with staged_folder(out) as staging:
            for of_photo in for_each_photo(photos, paint, workers):
                for row, contents in of_photo:
                    leaves_out = row.file and discarded.names(row.file)
                    rows.append(replace(row, file="", status="discarded", reason=row.file) if leaves_out else row)
                    if rows[-1].file:
                        write_picture(staging / row.file, contents)
            discarded.require_clear()
            sheets = _write_sheets(staging, rows)
            write_table(staging, rows)
            write_framing(staging, replace(framing, masks="drawn"))
    except OSError as exc:
        raise DataError(f"the output folder must be writable, but {out}: {exc.strerror}") from exc
    written = [row for row in rows if row.file]
    masks = sorted(f"{row.kind}/{row.fit}" for row in written if row.kind)
    return MaskSummary(
        out=out,
        photos=len(photos),
        counts={name: sum(row.class_name == name for row in written) for name in (UNMASKED, MASKED, IMPROPER)},
        masks={name: masks.count(name) for name in dict.fromkeys(masks)},
        without_face=tuple(row.source for row in rows if row.status in ("no face", "too small")),
        unreadable=tuple(f"{row.source}: {row.reason}" for row in rows if row.status == "unreadable"),
        discarded=len([row for row in rows if row.status == "discarded"]),
        ignored=ignored,
        contact_sheets=tuple(out / path.relative_to(staging) for path in sheets),
        group_by=f"(?:{UNMASKED}|{MASKED}|{IMPROPER})/(.*)-[0-9]+[.]jpg$",
    )


def _paint(
    photo: SourcePhoto,
    detector: FaceDetector,
    size_px: int,
    framing: Framing,
    wish: MaskWish,
    splits: Collection[str],
) -> list[tuple[FaceRow, bytes]]:
    """Return two rows for every face with the contents of their files, or one that says why there is none."""
    name = photo.file.name
    try:
        pixels = read_photo(photo.file.path)
        faces = detector.detect(pixels)
    except DataError as exc:
        return [(FaceRow(name, "", "unreadable", str(exc)), b"")]
    if not faces:
        return [(FaceRow(name, "", "no face"), b"")]
    results = []
    for number, face in enumerate(faces, 1):
        if face.size_px < LEAST_FACE_PX:
            reason = f"a face must be at least {LEAST_FACE_PX} px for a mask, but is {face.size_px:.0f}"
            results.append((FaceRow(name, "", "too small", reason, face), b""))
            continue
        look = _look(wish, name, number)
        plain, masked = (as_jpeg(picture) for picture in _cut_pair(pixels, face, size_px, framing, look))
        class_name = MASKED if look.mode == "proper" else IMPROPER
        first, second = (_place(photo.stem, number, each, splits) for each in (UNMASKED, class_name))
        results.append((FaceRow(name, first, "face", "", face, UNMASKED), plain))
        results.append((FaceRow(name, second, "face", "", face, class_name, look.kind, look.mode), masked))
    return results


def _look(wish: MaskWish, name: str, number: int) -> MaskLook:
    rng = stream(wish.seed, stable_seed("mask", name, number))
    mode = pick(rng, tuple(wish.fits), tuple(wish.fits.values()))
    return sample_mask_look(rng, mode, ORDINARY_PATTERNS, kinds=wish.kinds)


def _cut_pair(photo: Photo, face: DetectedFace, size_px: int, framing: Framing, look: MaskLook) -> tuple[Photo, Photo]:
    """Return a face without and with a mask.

    A face that has fewer pixels than the picture gets its mask before both are enlarged: the mask is as coarse as it.
    """
    square = face_square(face, framing)
    painted_px = max(LEAST_FACE_PX, min(size_px, round(square.side_px)))
    plain = cut_square(photo, square, painted_px)
    masked = draw_mask(plain, landmarks_in(square, face, painted_px), look)
    return enlarged(plain, size_px), enlarged(masked, size_px)


def _place(stem: str, number: int, class_name: str, splits: Collection[str]) -> str:
    split, slash, rest = stem.partition("/")
    if slash and split in splits:
        return f"{split}/{class_name}/{rest}-{number}.jpg"
    return f"{class_name}/{stem}-{number}.jpg"


def _write_sheets(folder: Path, rows: Sequence[FaceRow]) -> list[Path]:
    """Write sheets of every kind of mask, improper ones framed in red."""
    paths = []
    for kind in sorted({row.kind for row in rows if row.file and row.kind}):
        chosen = [row for row in rows if row.file and row.kind == kind]
        tiles = [Tile(folder / row.file, row.file.removesuffix(".jpg"), row.fit != "proper") for row in chosen]
        paths += write_contact_sheets(folder, kind, tiles)
    return paths


class _Discarded:
    """The lines of the file of --discard, and the files that each names, by their places or their names alone."""

    def __init__(self, lines: Collection[str]) -> None:
        self._files: dict[str, list[str]] = {line: [] for line in lines}

    def names(self, file: str) -> bool:
        """Return whether a line names a file, as the table, the contact sheets or a file manager show it."""
        ways = {shown.removesuffix(end) for shown in (file, printable(file)) for end in ("", ".jpg")}
        ways |= {PurePosixPath(way).name for way in ways}
        named = ways & self._files.keys()
        for line in named:
            self._files[line].append(file)
        return bool(named)

    def require_clear(self) -> None:
        """Check that every line named one file.

        Raises:
            DataError: one named none, or several.
        """
        if unused := sorted(line for line, files in self._files.items() if not files):
            raise DataError(
                f"every line of the file of --discard must be a file that would be written, as {UNMASKED}/anna-1.jpg, "
                f"but {len(unused)} are not: {', '.join(map(printable, unused[:SHOWN]))}; correct them, nothing was "
                "written"
            )
        if several := [line for line, files in self._files.items() if len(files) > 1]:
            files = self._files[several[0]]
            more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
            raise DataError(
                f"every line of the file of --discard must name one file, but {printable(several[0])} is "
                f"{', '.join(map(printable, files[:SHOWN]))}{more}; name the one with its folder, nothing was written"
            )
