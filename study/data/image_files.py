"""Find the image files below a folder, and count what is not read; opens only files without an extension."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study.data.decode import HEIF_SUFFIXES, SUFFIXES, is_picture
from study.errors import DataError
from study.utils.text import printable

IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "contact_sheets"})
HIDDEN, NO_EXTENSION, NO_FILE, UNSORTED = "hidden", "no extension", "pipe or device", "in no class folder"
SHOWN_KINDS = 10


@dataclass(frozen=True)
class ImageFile:
    """One picture on disk; ``name`` is its path relative to the data folder, with ``/``, valid UTF-8.

    ``size_bytes`` is -1 for a link that leads nowhere.
    """

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted by name, links to folders included."""
    return [Path(entry.path) for entry in _entries(folder) if _is_visible(entry.name) and _is_folder(entry)]


def holds_pictures(folder: Path) -> bool:
    """Whether there is a picture below a folder, at any depth; unlike `find_images` it stops at the first."""
    waiting, entered = [os.fspath(folder)], set()
    while waiting:
        place = waiting.pop()
        if (real := os.path.realpath(place)) in entered:
            continue
        entered.add(real)
        with _translated(place), os.scandir(place) as entries:
            for entry in entries:
                if _is_visible(entry.name):
                    if _is_picture(entry):
                        return True
                    if _is_folder(entry):
                        waiting.append(entry.path)
    return False


def count_unsorted(folder: Path, ignored: Counter[str]) -> None:
    """Count the pictures that lie in a folder itself, where only class folders are read."""
    if number := sum(1 for entry in _entries(folder) if _is_visible(entry.name) and _is_picture(entry)):
        ignored[UNSORTED] += number


def unread(ignored: Mapping[str, int]) -> str:
    """Return how many files are not read, of which kinds and why; empty where there are none."""
    if not ignored:
        return ""
    kinds = Counter(ignored).most_common()
    shown = ", ".join(f"{kind} {count}{_why(kind)}" for kind, count in kinds[:SHOWN_KINDS])
    rest = sum(count for _, count in kinds[SHOWN_KINDS:])
    return f"{sum(ignored.values())} ({shown}{f', others {rest}' if rest else ''})"


def _why(kind: str) -> str:
    if kind in HEIF_SUFFIXES:
        return ": `pip install pillow-heif` to have them read"
    if kind == ".avif":
        return ": they need Pillow 11.3 or later"
    return ": no picture inside" if kind == NO_EXTENSION else ""


def text_of(name: str) -> str:
    r"""Return a file name as valid UTF-8, which it need not be: the bytes that are not become ``\udc..``."""
    return name.encode("utf-8", "backslashreplace").decode()


def find_images(folder: Path, root: Path, ignored: Counter[str], also: Collection[str] = ()) -> list[ImageFile]:
    """Return the pictures below a folder, sorted by name; every folder is entered once, so links cannot loop.

    Args:
        folder: where to look, at any depth.
        root: what the names are relative to.
        ignored: counts, by suffix or reason, what is not a picture; added to.
        also: further suffixes of files to return.

    Raises:
        DataError: a folder cannot be read.
    """
    files = [_describe(path, root) for path in _walk(folder, set(), ignored, also)]
    return sorted(files, key=lambda file: file.name)


def _walk(folder: Path, entered: set[str], ignored: Counter[str], also: Collection[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in entered:
        return
    entered.add(real)
    for entry in _entries(folder):
        path = Path(entry.path)
        if not _is_visible(entry.name):
            ignored[HIDDEN] += 1
        elif _is_folder(entry):
            yield from _walk(path, entered, ignored, also)
        elif _is_picture(entry) or (_suffix(entry.name) in also and entry.is_file()):
            yield path
        else:
            suffix = _suffix(entry.name)
            ignored[NO_FILE if suffix in SUFFIXES else printable(text_of(suffix)) or NO_EXTENSION] += 1


def _suffix(name: str) -> str:
    """Return the extension in lower case, empty where there is none: ``frame.0001`` has a number."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if any(map(str.isalpha, suffix)) else ""


def _is_picture(entry: os.DirEntry[str]) -> bool:
    """Whether a file is read: by its extension, or by its beginning where it has none."""
    suffix = _suffix(entry.name)
    if suffix and suffix not in SUFFIXES:
        return False
    is_file = os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file()
    if suffix:  # a link that leads nowhere counts as broken; a folder is none, nor is a pipe, which would block
        return is_file or (entry.is_symlink() and not os.path.exists(entry.path))
    return is_file and is_picture(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with _translated(folder), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


@contextmanager
def _translated(folder: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise DataError(
            f"cannot read the folder {printable(str(folder))}: {exc.strerror}; check that it exists and its permissions"
        ) from exc


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # os.path.isdir says no to a link that leads to itself, where DirEntry.is_dir raises.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in IGNORED_NAMES


def _describe(path: Path, root: Path) -> ImageFile:
    name = text_of(path.relative_to(root).as_posix())
    try:
        stat = path.stat()
    except OSError:
        return ImageFile(path, name, -1, 0)
    return ImageFile(path, name, stat.st_size, stat.st_mtime_ns)
