"""Decide which picture of a data folder is of which split and class; opens no picture."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data.bundle import SHIFTED_PREFIX, require_classes
from study.data.files import ImageFile, find_images, subfolders
from study.data.splits import assign_splits
from study.errors import DataError

_log = logging.getLogger(__name__)

SPLIT_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
SHIFTED_FOLDER = "shifted"
UNSPLIT = ""
LAYOUTS = "it needs DIR/{train,val,test}/<class>/* (test may be missing) or DIR/<class>/*"
SUPPORTED_CLASSES = 2

_ByClass = dict[str, list[ImageFile]]


@dataclass(frozen=True)
class LabelledFile:
    """A picture and the place of its class in the sorted class names."""

    file: ImageFile
    label: int


@dataclass(frozen=True)
class FolderPlan:
    """The pictures of each set ("train", "val", "test", "shifted/<name>"), sorted by name; no set is empty."""

    root: Path
    classes: tuple[str, ...]
    sets: Mapping[str, tuple[LabelledFile, ...]]


def plan_folder(path: str, fractions: Sequence[float], seed: int) -> FolderPlan:
    """Read the layout of a data folder; ``fractions`` and ``seed`` matter only where it has no splits of its own.

    Raises:
        DataError: the folder is missing, unreadable or empty, has not exactly two classes, or a split lacks a class.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"data.path must be an existing folder, but got {path!r}{_neighbours(root)}")
    ignored: Counter[str] = Counter()
    groups = _read_groups(root, ignored)
    _log.log(logging.INFO if ignored else logging.DEBUG, "%s: %s", root, _listed(ignored))
    if not any(files for by_class in groups.values() for files in by_class.values()):
        raise DataError(f"no pictures found below {root} ({_listed(ignored)}); {LAYOUTS}")
    if UNSPLIT in groups:
        _require_two(root, sorted(groups[UNSPLIT]))
        groups |= _deal_out(groups.pop(UNSPLIT), fractions, seed)
    require_classes({name: {one: len(files) for one, files in group.items()} for name, group in groups.items()})
    classes = tuple(sorted(groups["train"]))
    _require_two(root, classes)
    sets = {
        name: tuple(LabelledFile(file, label) for label, one in enumerate(classes) for file in group[one])
        for name, group in groups.items()
    }
    return FolderPlan(root, classes, sets)


def _read_groups(root: Path, ignored: Counter[str]) -> dict[str, _ByClass]:
    """Return the pictures by set and class; all under UNSPLIT where the folder has no splits of its own."""
    folders = subfolders(root)
    shifted = [inner for folder in folders if folder.name == SHIFTED_FOLDER for inner in subfolders(folder)]
    places = _split_folders(root, folders) | {SHIFTED_PREFIX + folder.name: folder for folder in shifted}
    groups = {
        name: {one.name: find_images(one, root, ignored) for one in subfolders(folder)}
        for name, folder in places.items()
    }
    if "train" not in groups:
        groups[UNSPLIT] = {one.name: find_images(one, root, ignored) for one in folders if one.name != SHIFTED_FOLDER}
    return groups


def _split_folders(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the folder of each split, or nothing where the folders are classes."""
    found: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        same = [folder for folder in folders if folder.name.lower() in names]
        if len(same) > 1:
            raise DataError(f"{root} must have one {split} folder, but has {' and '.join(one.name for one in same)}")
        if same:
            found[split] = same[0]
    if not found:
        return {}
    if lacking := next((split for split in ("train", "val") if split not in found), None):
        raise DataError(
            f"{root} has {', '.join(one.name for one in found.values())} but no {lacking} folder "
            f"({' or '.join(SPLIT_FOLDERS[lacking])}); {LAYOUTS}"
        )
    if unused := [one.name for one in folders if one not in found.values() and one.name != SHIFTED_FOLDER]:
        _log.warning("%s: folders beside the splits are not used: %s", root, ", ".join(unused))
    return found


def _deal_out(by_class: _ByClass, fractions: Sequence[float], seed: int) -> dict[str, _ByClass]:
    groups: dict[str, _ByClass] = {}
    for one, files in by_class.items():
        by_name = {file.name: file for file in files}
        try:
            assigned = assign_splits(list(by_name), fractions, seed)
        except DataError as exc:
            raise DataError(f"class {one!r} cannot be split: {exc}") from exc
        for split, names in assigned.items():
            groups.setdefault(split, {})[one] = [by_name[name] for name in names]
    return groups


def _require_two(root: Path, classes: Sequence[str]) -> None:
    if len(classes) != SUPPORTED_CLASSES:
        shown = ", ".join(classes[:20]) or "none"
        advice = "merge the folders into two" if len(classes) > SUPPORTED_CLASSES else LAYOUTS
        raise DataError(
            f"{root} must have exactly {SUPPORTED_CLASSES} classes (training on more is not supported yet), "
            f"but has {len(classes)}: {shown}; {advice}"
        )


def _listed(ignored: Counter[str]) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in ignored.most_common(10))
    return f"files ignored: {ignored.total()}" + (f" ({kinds})" if kinds else "")


def _neighbours(root: Path) -> str:
    if root.exists():
        return ", which is a file"
    if not root.parent.is_dir():
        return f"; {root.parent} does not exist either"
    names = [folder.name for folder in subfolders(root.parent)]
    return f"; {root.parent} has the folders: {', '.join(names[:20]) or 'none'}"
