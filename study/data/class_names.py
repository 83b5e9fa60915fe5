"""Map folders to classes, and check the names of classes and shifted sets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from study.data.dataset import SHIFTED_SET_PREFIX
from study.errors import DataError

LEAST_CLASSES = 2
MOST_CLASSES = 1000
LAYOUTS = "it needs DIR/{train,val,test}/<class>/* (test may be missing) or DIR/<class>/*"


def class_of(folder: str, classes: Mapping[str, str]) -> str:
    """Return the class of a folder: what ``data.classes`` says, else its own name."""
    return classes.get(folder, folder)


def require_known_keys(classes: Mapping[str, str], folders: Collection[str], what: str = "folder") -> None:
    """Check that every key of ``data.classes`` is the name of a folder.

    Raises:
        DataError: names the keys that are not, and the folders there are.
    """
    if unknown := sorted(set(classes) - set(folders)):
        existing = ", ".join(sorted(folders)[:20]) or "none"
        raise DataError(
            f"every key of data.classes must be a {what}, but there is no {', '.join(unknown)}; "
            f"there are: {existing}. Correct or remove the key"
        )


def require_class_number(place: object, classes: Sequence[str]) -> None:
    """Check that there are 2 to 1000 classes.

    Raises:
        DataError: there are fewer or more.
    """
    if LEAST_CLASSES <= len(classes) <= MOST_CLASSES:
        return
    shown = ", ".join(classes[:20]) or "none"
    few = f"add a folder for each class, or map fewer of them to one class; {LAYOUTS}"
    advice = few if len(classes) < LEAST_CLASSES else "merge some with data.classes"
    raise DataError(
        f"{place} must have {LEAST_CLASSES} to {MOST_CLASSES} classes, but has {len(classes)}: {shown}; {advice}"
    )


def require_shifted_classes(class_names: Mapping[str, Collection[str]], classes: Sequence[str]) -> None:
    """Check that shifted sets have no class that training has not.

    Args:
        class_names: by set, "shifted/<name>".
        classes: those of training.

    Raises:
        DataError: names every set and class that is unknown.
    """
    faults = [
        f"{name} has {extra!r}"
        for name, names in sorted(class_names.items())
        for extra in sorted(set(names) - set(classes))
    ]
    if faults:
        raise DataError(
            f"a shifted set must have classes of training only ({', '.join(classes[:20])}), but {'; '.join(faults)}; "
            "rename the folders or map them with data.classes"
        )


def require_shifted_names(names: Collection[str], taken: Collection[str]) -> None:
    """Check the names given in ``data.shifted`` against those there are.

    Raises:
        DataError: a name is empty, holds "/" or ".", or is taken.
    """
    if wrong := [name for name in names if not name or set(name) & set("/.")]:
        raise DataError(
            f"a name in data.shifted must not be empty or hold / or ., but got {', '.join(map(repr, wrong))}; rename it"
        )
    if doubled := sorted(set(names) & set(taken)):
        raise DataError(
            f"a name in data.shifted must be new, but {', '.join(SHIFTED_SET_PREFIX + name for name in doubled)} "
            "is there already; choose another name"
        )
