"""Divide numbers and names into train, val and test; pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence

from study.data.bundle import SPLITS
from study.errors import DataError
from study.spec import stable_seed


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
