"""Find the image files below a folder; opens none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.data.decode import SUFFIXES
from study.errors import DataError

IGNORED_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})


@dataclass(frozen=True)
class ImageFile:
    """One picture on disk; ``name`` is its path relative to the data folder, with ``/``, printable.

    ``size_bytes`` is -1 for a link that leads nowhere.
    """

    path: Path
    name: str
    size_bytes: int
    mtime_ns: int


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted by name, links to folders included."""
    return [Path(entry.path) for entry in _entries(folder) if _is_visible(entry.name) and _is_folder(entry)]


def find_images(folder: Path, root: Path, ignored: Counter[str]) -> list[ImageFile]:
    """Return the pictures below a folder, sorted by name; every folder is entered once, so links cannot loop.

    Args:
        folder: where to look, at any depth.
        root: what the names are relative to.
        ignored: counts, by suffix or name, what is not a picture; added to.

    Raises:
        DataError: a folder cannot be read.
    """
    files = [_describe(path, root) for path in _walk(folder, set(), ignored)]
    return sorted(files, key=lambda file: file.name)


def _walk(folder: Path, entered: set[str], ignored: Counter[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in entered:
        return
    entered.add(real)
    for entry in _entries(folder):
        path = Path(entry.path)
        if not _is_visible(entry.name):
            ignored[entry.name] += 1
        elif _is_folder(entry):
            yield from _walk(path, entered, ignored)
        elif path.suffix.lower() in SUFFIXES:
            yield path
        else:
            ignored[path.suffix.lower() or entry.name] += 1


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as exc:
        raise DataError(
            f"cannot read the folder {folder}: {exc.strerror}; check that it exists and its permissions"
        ) from exc


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # os.path.isdir says no to a link that leads to itself, where DirEntry.is_dir raises.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in IGNORED_NAMES


def _describe(path: Path, root: Path) -> ImageFile:
    # A file name need not be valid UTF-8; the name must be, to be printed and recorded.
    name = path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()
    try:
        stat = path.stat()
    except OSError:
        return ImageFile(path, name, -1, 0)
    return ImageFile(path, name, stat.st_size, stat.st_mtime_ns)
