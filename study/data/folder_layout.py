"""Tell from names and places which folders are splits, which are classes and which are shifted sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.data.image_files import count_unsorted, find_images, holds_pictures, subfolders
from study.errors import DataError
from study.utils.text import first_of, printable

LAYOUTS = "it needs DIR/{train,val,test}/<class>/* (val or test may be missing) or DIR/<class>/*"
SHIFTED_FOLDER = "shifted"
SPLIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
}
_FILLERS = r"(?:datasets?|data|sets?|splits?|images?|imgs?|pictures?|photos?|samples?|seg|x|\d+)*"
_WORDS = "|".join(f"(?P<{split}>{'|'.join(words)})" for split, words in SPLIT_WORDS.items())
_SPLIT_NAME = re.compile(f"{_FILLERS}(?:{_WORDS}){_FILLERS}")
_SEPARATORS = re.compile(r"[\W_]+")
MOST_WRAPPERS = 3
SHOWN = 10


@dataclass(frozen=True)
class FolderLayout:
    """Which folders hold what; either ``splits`` or ``classes`` is empty.

    ``splits`` has "train" and at least one of "val" and "test".
    ``splits`` and ``shifted`` are, by name, the folders whose subfolders are class folders; ``unused`` are folders with
    pictures beside the splits.
    """

    splits: Mapping[str, Path]
    classes: tuple[Path, ...]
    shifted: Mapping[str, Path]
    unused: tuple[Path, ...] = ()

    def count_unread(self, root: Path, ignored: Counter[str]) -> None:
        """Count the pictures that lie outside the class folders."""
        for folder in dict.fromkeys((root, *self.splits.values(), *self.shifted.values())):
            count_unsorted(folder, ignored)
        for folder in self.unused:
            ignored[f"beside the splits in {printable(folder.name)}"] += len(find_images(folder, folder, Counter()))


def read_layout(root: Path, declared: Collection[str] = (), depth: int = 0) -> FolderLayout:
    """Read the layout of a data folder.

    Splits are folders with the usual names, whatever the case, whose subfolders hold pictures; one that holds nothing
    but a folder of its own name is looked into, and so is a single folder around all. Any other folder is a class.

    Args:
        root: the data folder.
        declared: folders that are classes whatever their names: the keys of ``data.classes``.
        depth: how many folders around this one were looked into.

    Raises:
        DataError: a folder cannot be read, or the folders look like splits but are none.
    """
    folders = subfolders(root)
    filled = [folder for folder in folders if holds_pictures(folder)]
    sets = _shifted_sets([folder for folder in folders if folder.name not in declared])
    shifted = {folder.name: folder for folder in sets or ()}
    others = [folder for folder in filled if sets is None or folder.name != SHIFTED_FOLDER]
    named = split_names([folder.name for folder in others if folder.name not in declared])
    if _is_wrapper(root, others, named, declared) and depth < MOST_WRAPPERS and sets is None:
        return read_layout(others[0], declared, depth + 1)
    split_folders = [folder for folder in others if folder.name in named]
    levels = {folder: level for folder in split_folders if (level := _level(folder, named[folder.name]))}
    by_split = {split: [folder for folder in levels if named[folder.name] == split] for split in SPLIT_WORDS}
    if by_split["train"] and (by_split["val"] or _share_classes([*by_split["train"], *by_split["test"]], levels)):
        for split, several in by_split.items():
            if len(several) > 1:
                raise DataError(
                    f"{printable(str(root))} must have one {split} folder, but has {_listed(several, ' and ')}; "
                    "move the others out of the data folder"
                )
        unused = tuple(folder for folder in others if folder not in levels)
        if any(folder.name == SHIFTED_FOLDER for folder in unused):
            raise DataError(
                f"{printable(str(root / SHIFTED_FOLDER))} must hold <name>/<class>/*, but its pictures lie elsewhere; "
                "move them there, or move the folder out of the data folder"
            )
        return FolderLayout(
            {split: levels[several[0]] for split, several in by_split.items() if several}, (), shifted, unused
        )
    _require_classes(root, others, named, levels, [folder for folder in folders if folder not in filled])
    classes = tuple(folder for folder in folders if sets is None or folder.name != SHIFTED_FOLDER)
    return FolderLayout({}, classes, shifted)


def _share_classes(folders: Sequence[Path], levels: Mapping[Path, Path]) -> bool:
    """Return whether these are several folders with pictures of at least two classes in common."""
    names = [{child.name for child in subfolders(levels[folder]) if holds_pictures(child)} for folder in folders]
    return len(folders) > 1 and len(set.intersection(*names)) > 1


def split_names(names: Sequence[str]) -> dict[str, str]:
    """Return which names are those of splits, and of which one.

    A name is if nothing but filling words stands beside the split's (`x_train`, `test-set`), or if another one differs
    in nothing but the split (`alphabet_train`, `alphabet_test`).
    """
    splits: dict[str, str] = {}
    by_rest: dict[tuple[str, ...], dict[str, str]] = {}
    words = {word: split for split, of_split in SPLIT_WORDS.items() for word in of_split}
    for name in names:
        parts = [part for part in _SEPARATORS.split(name.lower()) if part]
        if match := _SPLIT_NAME.fullmatch("".join(parts)):
            splits[name] = str(match.lastgroup)
        elif len(marks := [part for part in parts if part in words]) == 1:
            by_rest.setdefault(tuple(part for part in parts if part != marks[0]), {})[name] = words[marks[0]]
    for alike in by_rest.values():
        if "train" in alike.values() and len(set(alike.values())) > 1:
            splits |= alike
    return splits


def _shifted_sets(folders: Sequence[Path]) -> list[Path] | None:
    """Return the folders of the shifted sets; None where `shifted` is missing or a class."""
    for folder in folders:
        if folder.name == SHIFTED_FOLDER:
            sets = subfolders(folder)
            nested = any(holds_pictures(inner) for child in sets for inner in subfolders(child))
            return sets if nested or not holds_pictures(folder) else None
    return None


def _is_wrapper(root: Path, filled: Sequence[Path], named: Mapping[str, str], declared: Collection[str]) -> bool:
    """Whether one folder holds all there is, and is neither a class nor a split."""
    if len(filled) != 1 or filled[0].name in declared or filled[0].name in named:
        return False
    return not _has_pictures_itself(filled[0]) and not _has_pictures_itself(root)


def _has_pictures_itself(folder: Path) -> bool:
    count_unsorted(folder, counted := Counter[str]())
    return bool(counted)


def _level(folder: Path, split: str) -> Path | None:
    """Return the folder whose subfolders are the classes of a split: itself or a doubled one; None without classes."""
    children = [child for child in subfolders(folder) if holds_pictures(child)]
    if len(children) == 1 and not _has_pictures_itself(folder):
        name = children[0].name
        filling = re.fullmatch(_FILLERS, _SEPARATORS.sub("", name.lower()))
        if name.lower() == folder.name.lower() or split_names([name]).get(name) == split or filling:
            inner = [child for child in subfolders(children[0]) if holds_pictures(child)]
            return children[0] if inner else (None if not filling else folder)
    return folder if children else None


def _require_classes(
    root: Path, folders: Sequence[Path], named: Mapping[str, str], levels: Mapping[Path, Path], empty: Sequence[Path]
) -> None:
    """Refuse folders that look like splits but make no split layout; the others are classes."""
    ordinary = [folder for folder in folders if folder.name not in named]
    if not named:
        _require_no_splits_below(root, folders)
        return
    if not levels:
        if len(set(named.values())) > 1 and len(ordinary) < 2:
            raise DataError(
                f"{printable(str(root))} has {_listed(folders)}, which look like splits but have no class folders: "
                f"their pictures lie in the folders themselves. {LAYOUTS}{_say_classes(named)}"
            )
        return
    classes = {child.name for level in levels.values() for child in _filled(level)}
    alike = [folder for folder in ordinary if len(classes & {child.name for child in _filled(folder)}) > 1]
    trains = [folder for folder in levels if named[folder.name] == "train"]
    if ordinary and not alike and not any(len(_filled(levels[folder])) > 1 for folder in trains):
        return
    of_split = {split: [folder for folder in levels if named[folder.name] == split] for split in SPLIT_WORDS}
    lacking = "val" if of_split["train"] else "train"
    flat = [folder for folder in folders if folder.name in named and folder not in levels]
    beside = f" (beside {_listed(ordinary)})" if ordinary else ""
    without = f"; {_listed(flat)} has pictures but no class folders" if flat else ""
    idle = split_names([folder.name for folder in empty])
    without += f"; {_listed([folder for folder in empty if folder.name in idle])} has no pictures" if idle else ""
    deal = f", or set data.path to {printable(str(levels[trains[0]]))} to have it dealt out" if trains else ""
    raise DataError(
        f"{printable(str(root))} has {_listed(list(levels))} but no {lacking} folder "
        f"({' or '.join(SPLIT_WORDS[lacking][:3])}){beside}{without}; {LAYOUTS}. "
        f"Make the folder{deal}{_say_classes(named)}"
    )


def _require_no_splits_below(root: Path, folders: Sequence[Path]) -> None:
    """Refuse DIR/<class>/<split>: dealing it out would mix the splits."""
    below = {folder: split_names([child.name for child in _filled(folder)]) for folder in folders}
    split = [folder for folder, names in below.items() if "train" in names.values() and len(set(names.values())) > 1]
    if len(split) > 1 and len(split) == len(folders):
        inner = ", ".join(f"{split[0].name}/{name}" for name in below[split[0]])
        raise DataError(
            f"{printable(str(root))} has its splits below the classes ({printable(inner)}), where they would be mixed; "
            f"{LAYOUTS}"
        )


def _filled(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if holds_pictures(child)]


def _say_classes(named: Collection[str]) -> str:
    words = ", ".join(f"{name}: {name}" for name in named)
    return f"; if they are classes, say so with data.classes: {{{printable(words)}}}"


def _listed(folders: Sequence[Path], between: str = ", ") -> str:
    return first_of([printable(folder.name) for folder in folders], SHOWN, between)
