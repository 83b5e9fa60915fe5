"""Say which effects a two-level fraction cannot tell apart, main effects and two-factor interactions; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

from study.design.regular import columns
from study.design.two_level import fraction_runs
from study.design.wording import joined
from study.steering import DesignSpec

_MOST_TERMS = 10


def alias_lines(design: DesignSpec, names: Sequence[str]) -> tuple[str, ...]:
    """Return a line per group of mixed effects, such as ``depth = augmentation x optimizer``.

    Regular fractions mix effects wholly. After Plackett & Burman a main effect takes up a share of interactions,
    which is the correlation of their columns.

    Args:
        design: with a resolution that so many factors can have.
        names: of the factors, in the order of the space.
    """
    if design.resolution is None:
        return ()
    if design.fraction == "regular":
        return tuple(_regular(columns(len(names), design.resolution) or (), names))
    return tuple(_partial(fraction_runs(design, len(names)) or [], names))


def _regular(chosen: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    effects: dict[int, list[str]] = {column: [name] for column, name in zip(chosen, names, strict=True)}
    for (one, name), (other, other_name) in combinations(zip(chosen, names, strict=True), 2):
        effects.setdefault(one ^ other, []).append(f"{name} x {other_name}")
    return (" = ".join(mixed) for mixed in effects.values() if len(mixed) > 1)


def _partial(table: Sequence[Sequence[bool]], names: Sequence[str]) -> Iterator[str]:
    signs = [[1 if row[at] else -1 for row in table] for at in range(len(names))]
    for at, name in enumerate(names):
        pairs = [pair for pair in combinations(range(len(names)), 2) if at not in pair]
        shares = {pair: _correlation(signs[at], *(signs[one] for one in pair)) for pair in pairs}
        if any(shares.values()):
            yield f"{name} = {_terms({pair: share for pair, share in shares.items() if share}, names)}"


def _correlation(*columns: Sequence[int]) -> Fraction:
    first, second, third = columns
    return Fraction(sum(a * b * c for a, b, c in zip(first, second, third, strict=True)), len(first))


def _terms(shares: dict[tuple[int, int], Fraction], names: Sequence[str]) -> str:
    if len(shares) <= _MOST_TERMS:
        text = " ".join(
            f"{'+' if share > 0 else '-'}{'' if abs(share) == 1 else f' {abs(share)}'} {names[one]} x {names[other]}"
            for (one, other), share in shares.items()
        )
        return text.removeprefix("+ ")
    counts = Counter(abs(share) for share in shares.values())
    parts = (f"{'all' if share == 1 else share} of {count} interactions" for share, count in sorted(counts.items()))
    return f"{joined(parts, 'and')} of two other factors, with either sign"
