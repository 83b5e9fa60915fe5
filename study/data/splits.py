"""Keep files that belong together in one split, by a group key in their paths; pure, no I/O."""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from study.config.study_config import stable_seed
from study.data.dataset import SPLITS
from study.errors import DataError
from study.utils.text import first_of, printable

EXAMPLES = 3
GROUP_BY = "data.group_by"

_Counts = npt.NDArray[np.float64]


def group_keys(names: Sequence[str], pattern: str, setting: str = GROUP_BY) -> dict[str, str]:
    """Return the group key of each name: the first group of the match, or all of it where there is none.

    Args:
        names: paths of files.
        pattern: a regular expression.
        setting: where it was given, for errors.

    Raises:
        DataError: the pattern is no regular expression, or some names have no key.
    """
    try:
        search = re.compile(pattern).search
    except (re.error, OverflowError, RecursionError) as exc:
        raise DataError(
            f"{setting} must be a regular expression, but {pattern!r} is not: {exc}; correct {setting}"
        ) from exc
    matches = {name: search(name) for name in names}
    keys = {name: match[1] if match.re.groups else match[0] for name, match in matches.items() if match is not None}
    if keyless := [name for name in names if not keys.get(name)]:
        shown = ", ".join(map(printable, keyless[:EXAMPLES]))
        raise DataError(
            f"{setting} must find a group in every file's path, but {pattern!r} finds none in {len(keyless)} of "
            f"{len(names)}: {shown}; correct {setting} or move the files out"
        )
    return keys


def image_ids(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return [len(names)] numbers that tell names apart, short enough to be stored with every trial."""
    digests = (hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8] for name in names)
    return np.frombuffer(b"".join(digests), dtype="<i8").astype(np.int64)


def image_groups(names: Sequence[str], pattern: str | None) -> npt.NDArray[np.int64] | None:
    """Return [len(names)] numbers that are equal for images of one group, None where they have no groups.

    Args:
        names: of images, such as those of a shifted set, whose names need not have a group.
        pattern: of the group in a name, as ``group_keys`` takes it; None for no groups.
    """
    if pattern is None:
        return None
    try:
        keys = group_keys(names, pattern)
    except DataError:
        return None
    return image_ids([keys[name] for name in names])


def require_unshared_groups(names: Mapping[str, Sequence[str]], pattern: str) -> None:
    """Check that no group has files in two splits.

    Args:
        names: file paths by split.
        pattern: see `group_keys`.

    Raises:
        DataError: names some of the groups that do.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    for split, of_split in names.items():
        for key in group_keys(of_split, pattern).values():
            splits[key].add(split)
    shared = [
        f"{printable(key)} ({', '.join(sorted(names))})" for key, names in sorted(splits.items()) if len(names) > 1
    ]
    if shared:
        raise DataError(
            f"no group of data.group_by may be in two splits, but {len(shared)} are: "
            f"{first_of(shared, EXAMPLES)}; move each into one split, or remove the split folders to have "
            "them dealt out"
        )


def assign_groups(
    by_class: Mapping[str, Sequence[str]], pattern: str, fractions: Sequence[float], seed: int, *, stratify: bool
) -> dict[str, list[str]]:
    """Deal the files out to the splits so that each group lands in one.

    Greedy, the largest groups first and equal ones in an order hashed from seed and key: each goes where it lessens
    most the squared distance to the wanted sizes, of the whole and, with ``stratify``, of each class.

    Args:
        by_class: file paths by class.
        pattern: see `group_keys`.
        fractions: of train, val and test; 0 leaves a split out.
        seed: another seed deals otherwise.
        stratify: also keep each class near the fractions.

    Returns:
        Sorted names by split.

    Raises:
        DataError: a name has no key, or a split would lack a class.
    """
    classes = sorted(by_class)
    keys = group_keys([name for class_name in classes for name in by_class[class_name]], pattern)
    counts: dict[str, _Counts] = defaultdict(lambda: np.zeros(len(classes)))
    for at, class_name in enumerate(classes):
        for name in by_class[class_name]:
            counts[keys[name]][at] += 1
    order = sorted(counts, key=lambda key: (-counts[key].sum(), stable_seed("split", seed, key), key))
    splits = [split for split, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0]
    shares = np.array([fraction for fraction in fractions if fraction > 0])
    groups = np.array([counts[key] for key in order]).reshape(len(order), len(classes))
    places = _place(groups, shares, stratify=stratify)
    _require_coverage(classes, splits, groups, places)
    split_of = {key: splits[place] for key, place in zip(order, places, strict=True)}
    return {split: sorted(name for name, key in keys.items() if split_of[key] == split) for split in splits}


def _place(groups: _Counts, shares: _Counts, *, stratify: bool) -> list[int]:
    """Return the split of each group [G, K], taken in this order."""
    of_class = groups.sum(0)
    wanted = shares[:, None] * of_class  # [splits, K]
    missing = wanted.copy()
    weights = 1 / np.maximum(of_class, 1) ** 2 if stratify else np.zeros_like(of_class)
    left, total = (groups > 0).sum(0), groups.sum()
    lacks = np.ones(wanted.shape, bool)
    places = []
    for group in groups:
        has = group > 0
        cost = ((group**2 - 2 * group * missing) * weights).sum(1)
        cost = cost + (group.sum() ** 2 - 2 * group.sum() * missing.sum(1)) / total**2
        # Where a class has as many groups left as splits that lack it, this group must go to one of these.
        urgent = has & (left <= lacks.sum(0))
        needed = (lacks & urgent).sum(1)
        place = int(np.lexsort((cost, -needed))[0])
        missing[place] -= group
        lacks[place] &= ~has
        left -= has
        places.append(place)
    return places


def _require_coverage(classes: Sequence[str], splits: Sequence[str], groups: _Counts, places: Sequence[int]) -> None:
    present = np.zeros((len(splits), len(classes)), bool)
    for group, place in zip(groups, places, strict=True):
        present[place] |= group > 0
    number = (groups > 0).sum(0)
    lacking = [
        f"{split} has none of class {class_name!r}, which is in {number[at]} {'group' if number[at] == 1 else 'groups'}"
        for row, split in enumerate(splits)
        for at, class_name in enumerate(classes)
        if not present[row, at]
    ]
    if lacking:
        raise DataError(
            f"every split must get images of every class, but whole groups cannot be dealt out so: "
            f"{'; '.join(lacking[:10])}. Add groups, make them smaller with data.group_by, or make the folders "
            "train, val and test yourself"
        )


def split_sizes(total: int, fractions: Sequence[float]) -> list[int]:
    """Divide a number by fractions with the largest-remainder method; no part with a fraction above 0 stays empty.

    Raises:
        DataError: the fractions do not add up to 1, or ``total`` is too small for the parts.
    """
    if not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise DataError(f"data.fractions must add up to 1, but got {list(fractions)} with sum {sum(fractions):g}")
    parts = sum(fraction > 0 for fraction in fractions)
    if total < parts:
        raise DataError(f"{parts} splits need at least {parts} images of each class, but got {total}; add images")
    quotas = [total * fraction for fraction in fractions]
    sizes = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda at: sizes[at] - quotas[at])
    for at in by_remainder[: total - sum(sizes)]:
        sizes[at] += 1
    for at, fraction in enumerate(fractions):
        if fraction > 0 and not sizes[at]:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[at] = 1
    return sizes


def assign_splits(names: Sequence[str], fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Deal names out to the splits: those of one class, to keep its share everywhere, or all at once.

    The order of dealing is a hash of seed and name: it depends neither on the order given nor on a library's
    generator, and a new file moves few of the others.

    Returns:
        Sorted names by split; a split of fraction 0 is missing.

    Raises:
        DataError: see `split_sizes`.
    """
    dealt = sorted(names, key=lambda name: (stable_seed("split", seed, name), name))
    assigned, start = {}, 0
    for split, size, fraction in zip(SPLITS, split_sizes(len(dealt), fractions), fractions, strict=True):
        if fraction > 0:
            assigned[split] = sorted(dealt[start : start + size])
        start += size
    return assigned
