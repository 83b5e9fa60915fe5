"""Decide which picture of a data folder is of which split and class; opens no picture."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from study.config.study_config import DataSpec
from study.data.class_names import (
    require_class_number,
    require_distinct_names,
    require_known_keys,
    require_shifted_classes,
    require_shifted_names,
)
from study.data.dataset import SPLITS, require_classes, require_images
from study.data.folder_layout import LAYOUTS, read_layout
from study.data.image_files import ImageFile, find_images, subfolders, text_of, unread
from study.data.splits import assign_groups, assign_splits, require_unshared_groups
from study.errors import DataError
from study.files import expand_home
from study.records import SHIFTED_SET_PREFIX
from study.utils.text import printable

_log = logging.getLogger(__name__)

UNSPLIT = ""

_ByClass = dict[str, list[ImageFile]]


@dataclass(frozen=True)
class LabelledFile:
    """A picture and the place of its class in the sorted class names."""

    file: ImageFile
    label: int


@dataclass(frozen=True)
class FolderPlan:
    """The pictures of each set ("train", "val", "test", "shifted/<name>"), sorted by name; no set is empty.

    ``ignored`` counts what is not read, by suffix or reason. ``notices`` say what was decided about the layout.
    """

    root: Path
    classes: tuple[str, ...]
    sets: Mapping[str, tuple[LabelledFile, ...]]
    ignored: Mapping[str, int]
    notices: tuple[str, ...] = ()


def plan_folder(spec: DataSpec) -> FolderPlan:
    """Read the layout of a data folder; fractions, seed and stratify matter only where it lacks splits of its own.

    A folder with train and test gives a part of train to val.

    Raises:
        DataError: the folder is missing, unreadable or empty, has fewer than two classes, a split lacks a class,
            files have no group or a group is in two splits, or what ``classes`` or ``shifted`` name is not there.
    """
    ignored: Counter[str] = Counter()
    root = _existing_folder("data.path", spec.path or "")
    folders = _read_sets(root, spec.classes, ignored)
    _log.log(logging.INFO if ignored else logging.DEBUG, "%s: files ignored: %s", root, unread(ignored) or "0")
    if not any(files for by_folder in folders.values() for files in by_folder.values()):
        skipped = unread(ignored) or "0"
        raise DataError(f"no pictures found below {printable(str(root))} (files ignored: {skipped}); {LAYOUTS}")
    require_shifted_names(spec.shifted, [name.removeprefix(SHIFTED_SET_PREFIX) for name in folders])
    folders |= _read_shifted(spec.shifted, ignored)
    require_known_keys(spec.classes, {name for by_folder in folders.values() for name in by_folder})
    groups = {name: _merge(by_folder, spec.classes) for name, by_folder in folders.items()}
    if UNSPLIT in groups:
        require_class_number(root, sorted(groups[UNSPLIT]))
        groups |= _deal_out(groups.pop(UNSPLIT), spec)
        return _plan(root, groups, ignored)
    notices: tuple[str, ...] = ()
    if "val" not in groups:
        train, val, _ = spec.fractions
        before = len(_names(groups["train"]))
        whole = spec.model_copy(update={"fractions": (train / (train + val), val / (train + val), 0.0)})
        groups |= _deal_out(groups["train"], whole)
        notices = (
            f"no val folder: {len(_names(groups['val']))} of the {before} training pictures are dealt out to val; "
            "data.fractions and data.seed decide which",
        )
    if spec.group_by is not None:
        require_unshared_groups({name: _names(groups[name]) for name in SPLITS if name in groups}, spec.group_by)
    return replace(_plan(root, groups, ignored), notices=notices)


def survey_folder(spec: DataSpec) -> tuple[FolderPlan, str | None]:
    """Plan a folder even where no study could run on it.

    Returns:
        The plan, and why a study would refuse it: then its sets are the folder as it stands, "all" where it has no
        splits of its own, and may lack classes; there are none where its layout cannot be told.

    Raises:
        DataError: the folder is missing.
    """
    root, ignored = _existing_folder("data.path", spec.path or ""), Counter[str]()
    try:
        return plan_folder(spec), None
    except DataError as exc:
        refusal = str(exc)
    try:
        folders = _read_sets(root, spec.classes, ignored)
    except DataError:
        return FolderPlan(root, (), {}, ignored), refusal
    groups = {name or "all": _merge(by_folder, spec.classes) for name, by_folder in folders.items()}
    classes = tuple(sorted({name for group in groups.values() for name in group}))
    sets = {name: files for name, group in groups.items() if (files := _label(group, classes))}
    return FolderPlan(root, classes, sets, ignored), refusal


def plan_shifted(spec: DataSpec, mapping: Mapping[str, str], classes: Sequence[str]) -> FolderPlan | None:
    """Plan the sets of ``data.shifted`` alone, for images that come from elsewhere; None where there are none.

    Args:
        spec: only its ``shifted`` is used.
        mapping: class names by folder name.
        classes: those of training, sorted.

    Raises:
        DataError: a folder is missing or unreadable, has no pictures or a class that training has not.
    """
    if not spec.shifted:
        return None
    ignored: Counter[str] = Counter()
    folders = _read_shifted(spec.shifted, ignored)
    groups = {name: _merge(by_folder, mapping) for name, by_folder in folders.items()}
    return FolderPlan(Path(), tuple(classes), _label_shifted(groups, classes), ignored)


def _plan(root: Path, groups: Mapping[str, _ByClass], ignored: Mapping[str, int]) -> FolderPlan:
    ordinary = {name: group for name, group in groups.items() if name in SPLITS}
    require_distinct_names({class_name for group in groups.values() for class_name in group})
    require_classes(
        {name: {class_name: len(files) for class_name, files in group.items()} for name, group in ordinary.items()}
    )
    classes = tuple(sorted(groups["train"]))
    require_class_number(root, classes)
    sets = {name: _label(group, classes) for name, group in ordinary.items()}
    shifted = {name: group for name, group in groups.items() if name not in SPLITS}
    return FolderPlan(root, classes, sets | _label_shifted(shifted, classes), ignored)


def _label_shifted(groups: Mapping[str, _ByClass], classes: Sequence[str]) -> dict[str, tuple[LabelledFile, ...]]:
    present = {name: [class_name for class_name, files in group.items() if files] for name, group in groups.items()}
    require_shifted_classes(present, classes)
    sets = {name: _label(group, classes) for name, group in groups.items()}
    require_images({name: len(files) for name, files in sets.items()})
    return sets


def _label(group: _ByClass, classes: Sequence[str]) -> tuple[LabelledFile, ...]:
    return tuple(
        LabelledFile(file, label) for label, class_name in enumerate(classes) for file in group.get(class_name, ())
    )


def _merge(by_folder: _ByClass, mapping: Mapping[str, str]) -> _ByClass:
    """Put the files of all folders of a class together, sorted by name."""
    by_class: _ByClass = {}
    for folder, files in by_folder.items():
        by_class.setdefault(mapping.get(folder, folder), []).extend(files)
    return {class_name: sorted(files, key=lambda file: file.name) for class_name, files in by_class.items()}


def _read_sets(root: Path, declared: Collection[str], ignored: Counter[str]) -> dict[str, _ByClass]:
    """Return the pictures by set and folder; all under UNSPLIT where the data folder has no splits of its own."""
    layout = read_layout(root, declared)
    layout.count_unread(root, ignored)
    shifted = {SHIFTED_SET_PREFIX + text_of(name): folder for name, folder in layout.shifted.items()}
    places = {**layout.splits, **shifted}
    classes = {name: subfolders(folder) for name, folder in places.items()}
    if not layout.splits:
        classes[UNSPLIT] = list(layout.classes)
    return {
        name: {text_of(folder.name): find_images(folder, root, ignored) for folder in folders}
        for name, folders in classes.items()
    }


def _read_shifted(shifted: Mapping[str, str], ignored: Counter[str]) -> dict[str, _ByClass]:
    """Return the pictures of ``data.shifted`` by set and folder, named as if they lay in DIR/shifted."""
    groups: dict[str, _ByClass] = {}
    for name, path in sorted(shifted.items()):
        root = _existing_folder(f"data.shifted.{name}", path)
        prefix = SHIFTED_SET_PREFIX + name
        by_set = {text_of(child.name): find_images(child, root, ignored) for child in subfolders(root)}
        groups[prefix] = {
            folder: [replace(file, name=f"{prefix}/{file.name}") for file in files] for folder, files in by_set.items()
        }
    return groups


def _existing_folder(field: str, path: str) -> Path:
    root = expand_home(path)
    if not root.is_dir():
        raise DataError(f"{field} must be an existing folder, but got {path!r}{_neighbours(root)}")
    return root


def _deal_out(by_class: _ByClass, spec: DataSpec) -> dict[str, _ByClass]:
    names = {class_name: [file.name for file in files] for class_name, files in by_class.items()}
    if spec.group_by is not None:
        return _pick(by_class, assign_groups(names, spec.group_by, spec.fractions, spec.seed, stratify=spec.stratify))
    if not spec.stratify:
        return _pick(by_class, assign_splits(_names(by_class), spec.fractions, spec.seed))
    assigned: dict[str, list[str]] = {}
    for class_name, of_class in names.items():
        try:
            dealt = assign_splits(of_class, spec.fractions, spec.seed)
        except DataError as exc:
            raise DataError(f"class {class_name!r} cannot be split: {exc}") from exc
        for split, chosen in dealt.items():
            assigned.setdefault(split, []).extend(chosen)
    return _pick(by_class, assigned)


def _pick(by_class: _ByClass, assigned: Mapping[str, Iterable[str]]) -> dict[str, _ByClass]:
    """Return the files of each split by class; every class is a key, with no files where it got none."""
    chosen = {split: set(names) for split, names in assigned.items()}
    return {
        split: {class_name: [file for file in files if file.name in names] for class_name, files in by_class.items()}
        for split, names in chosen.items()
    }


def _names(by_class: _ByClass) -> list[str]:
    return [file.name for files in by_class.values() for file in files]


def _neighbours(root: Path) -> str:
    if root.exists():
        return ", which is a file"
    if not root.parent.is_dir():
        return f"; {root.parent} does not exist either"
    names = [printable(folder.name) for folder in subfolders(root.parent)]
    return f"; {root.parent} has the folders: {', '.join(names[:20]) or 'none'}"
