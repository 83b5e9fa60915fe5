"""Check the names of classes and shifted sets."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence

from study.data.folder_layout import LAYOUTS
from study.errors import DataError
from study.metric_catalog import metric_slug
from study.records import SHIFTED_SET_PREFIX
from study.utils.text import printable

LEAST_CLASSES = 2
MOST_CLASSES = 1000


def require_known_keys(classes: Mapping[str, str], folders: Collection[str], what: str = "folder") -> None:
    """Check that every key of ``data.classes`` is the name of a folder.

    Raises:
        DataError: names the keys that are not, and the folders there are.
    """
    if unknown := sorted(set(classes) - set(folders)):
        existing = ", ".join(map(printable, sorted(folders)[:20])) or "none"
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
    shown = ", ".join(map(printable, classes[:20])) or "none"
    few = f"add a folder for each class, or map fewer of them to one class; {LAYOUTS}"
    advice = few if len(classes) < LEAST_CLASSES else "merge some with data.classes"
    raise DataError(
        f"{place} must have {LEAST_CLASSES} to {MOST_CLASSES} classes, but has {len(classes)}: {shown}; {advice}"
    )


def require_distinct_names(classes: Collection[str]) -> None:
    """Check that no two classes have one name in another form, or are called the same in metrics.

    Raises:
        DataError: names the first two.
    """
    by_slug: dict[str, str] = {}
    for name in sorted(classes):
        other = by_slug.setdefault(metric_slug(name), name)
        if other == name:
            continue
        way_out = "rename one folder, or give both one class with data.classes"
        if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name):
            raise DataError(
                f"class names must differ, but {other!a} and {name!a} are one name in two Unicode forms and "
                f"look alike; {way_out}"
            )
        raise DataError(
            f"class names must differ in metric names, but {other!r} and {name!r} are both `{metric_slug(name)}` "
            f"there; {way_out}"
        )


def case_notices(classes: Sequence[str]) -> tuple[str, ...]:
    """Warn of classes that may be one."""
    by_case: dict[str, str] = {}
    pairs = [(by_case.setdefault(name.casefold(), name), name) for name in classes]
    return tuple(
        f"classes {printable(name)} and {printable(other)} differ in case alone; data.classes can make them one"
        for name, other in pairs
        if name != other
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
