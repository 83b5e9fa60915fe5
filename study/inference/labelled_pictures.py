"""Pictures in folders named after classes, matched with the classes of a bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data.image_files import ImageFile, find_images, holds_pictures, subfolders, text_of, unread
from study.errors import DataError
from study.metric_catalog import metric_slug
from study.utils.text import first_of, printable

_SHOWN = 10


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures with the classes that their folders name.

    Attributes:
        files: the pictures, folder by folder.
        labels: of each the index of its class.
        others: pictures of folders that are no class of the bundle, by folder.
        notes: what had to be assumed, and what is not read.
    """

    files: tuple[ImageFile, ...]
    labels: tuple[int, ...]
    others: Mapping[str, tuple[ImageFile, ...]]
    notes: tuple[str, ...] = ()


def find_labelled(folder: Path, classes: Sequence[str], renamed: Mapping[str, str] | None = None) -> LabelledPictures:
    """Find the pictures of a folder ``DIR/<class>/*``.

    A folder is of the class of its name, whatever its capitals and signs if no other is like it.

    Args:
        folder: DIR.
        classes: of the bundle.
        renamed: the class of a folder by its name, where it is called otherwise.

    Raises:
        DataError: it cannot be read, holds no picture of any class, or ``renamed`` names no folder or class of it.
    """
    renamed = renamed or {}
    folders = [child for child in subfolders(folder) if holds_pictures(child)]
    _require_known(renamed, [child.name for child in folders], classes, folder)
    notes: list[str] = []
    ignored: Counter[str] = Counter()
    files: list[ImageFile] = []
    labels: list[int] = []
    others: dict[str, tuple[ImageFile, ...]] = {}
    for child in folders:
        name = text_of(child.name)
        wanted = renamed.get(child.name, name)
        label = _class_of(wanted, classes)
        pictures = find_images(child, folder, ignored)
        if label is None:
            others[name] = tuple(pictures)
            continue
        if classes[label] != name:
            notes.append(f"the folder {printable(name)} counts as class {printable(classes[label])}")
        files += pictures
        labels += [label] * len(pictures)
    if not files:
        raise DataError(_no_class(folder, [child.name for child in folders], classes))
    loose = len(find_images(folder, folder, Counter())) - len(files) - sum(map(len, others.values()))
    if loose > 0:
        notes.append(f"not counted, as they lie in no class folder: {loose} pictures")
    if ignored:
        notes.append(f"files not read: {unread(ignored)}")
    return LabelledPictures(tuple(files), tuple(labels), others, tuple(notes))


def _class_of(name: str, classes: Sequence[str]) -> int | None:
    if name in classes:
        return list(classes).index(name)
    alike = [k for k, each in enumerate(classes) if _loose(each) == _loose(name)]
    return alike[0] if len(alike) == 1 else None


def _loose(name: str) -> str:
    return "".join(letter for letter in metric_slug(name).casefold() if letter.isalnum())


def _require_known(renamed: Mapping[str, str], folders: Sequence[str], classes: Sequence[str], place: Path) -> None:
    for folder, name in renamed.items():
        if folder not in folders:
            raise DataError(
                f"--classes must name folders with pictures in {place}, but there is no {printable(folder)}; "
                f"there are: {_listed(folders)}"
            )
        if name not in classes:
            raise DataError(
                f"--classes must name classes of the bundle ({_listed(classes)}), but got {printable(name)}; correct it"
            )


def _no_class(place: Path, folders: Sequence[str], classes: Sequence[str]) -> str:
    law = f"{place} must hold a folder of pictures for at least one class of the bundle ({_listed(classes)})"
    for name in folders:
        if any(_class_of(child.name, classes) is not None for child in subfolders(place / name)):
            return f"{law}, but holds {_listed(folders)}, which hold such folders; name one of them: {place / name}"
    if not folders:
        return f"{law}, but has no folder with pictures; sort the pictures into DIR/<class>/"
    return f"{law}, but holds {_listed(folders)}; say which is which with --classes FOLDER=CLASS"


def _listed(names: Sequence[str]) -> str:
    return first_of([printable(name) for name in names], _SHOWN) or "none"
