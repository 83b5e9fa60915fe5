"""Two-level fractions of a factorial: regular ones, those after Plackett & Burman, and what they mix; pure.

A regular fraction takes some factors as products of others. A factor is a column: the set of basic factors whose
product it is, as a bit mask. A word is a set of factors whose product is the same in every run; the shortest word is as
long as the resolution.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

from study.config.search_config import DesignSpec
from study.designs.formatting import join_words

MOST_BASIC = 16
"""More basic factors than this would make more than 65,536 runs."""
_LETTERS = "ABCDEFGHJKLM"
_TABLED = 12
_ADDED: dict[tuple[int, int], str] = {
    (5, 3): "AB AC",
    (6, 3): "AB AC BC",
    (6, 4): "ABC ABD",
    (7, 3): "AB AC BC ABC",
    (7, 4): "ABC ABD ACD",
    (8, 4): "ABC ABD ACD BCD",
    (8, 6): "ABCD ABEF",
    (9, 4): "AB AC AD BCD ABCD",
    (9, 5): "ABC ABD ABE ACDE",
    (9, 7): "ABCDE ABCFG",
    (10, 4): "AB AC BC AD BCD ABCD",
    (10, 5): "ABC ABD ABE ACDE BCDE",
    (10, 7): "ABCD ABEF ACEG",
    (10, 8): "ABCDE ABCFGH",
    (11, 4): "AB AC BC AD BD ACD BCD",
    (11, 5): "ABC ABD ACD ABE ACE ADE",
    (11, 7): "ABCD ABEF ACEG BDFG",
    (11, 8): "ABCDE ABCFG ABDFH",
    (11, 9): "ABCDEF ABCGHJ",
    (12, 4): "AB AC BC AD BD ACD BCD ABCD",
    (12, 5): "ABC ABD ACD BCD ABE ACE ADE",
    (12, 8): "ABCDE ABCFG ABDFH ACEGH",
    (12, 10): "ABCDEFG ABCDHJK",
}
"""By the numbers of factors and of basic factors, the columns of the others in the letters of textbooks."""


@functools.lru_cache(maxsize=64)
def columns(factors: int, resolution: int) -> tuple[int, ...] | None:
    """Return the columns of the smallest fraction that has a resolution; None where that takes more than MOST_BASIC.

    Up to 12 factors it is the one of minimum aberration (Fries & Hunter 1980), with the word lengths of the catalogue
    of Chen, Sun & Wu 1993; above, its columns are taken greedily in binary order (lexicode, Conway & Sloane 1986).

    Args:
        factors: how many there are, at least the resolution.
        resolution: the length of the shortest word, at least 3.

    Returns:
        One bit mask per factor; the basic factors come first, each a bit of its own.
    """
    for basic in range(resolution - 1, min(factors, MOST_BASIC + 1)):
        taken = _greedy(basic, resolution, factors)
        if len(taken) == factors:
            singles = tuple(1 << at for at in range(basic))
            added = _tabled(factors, basic) or tuple(column for column in taken if column.bit_count() > 1)
            return (*singles, *added)
    return None


def _tabled(factors: int, basic: int) -> tuple[int, ...]:
    if factors > _TABLED:
        return ()
    added = _ADDED[factors, basic].split() if factors - basic > 1 else [_LETTERS[:basic]]
    return tuple(sum(1 << _LETTERS.index(letter) for letter in letters) for letters in added)


@functools.lru_cache(maxsize=64)
def _greedy(basic: int, resolution: int, most: int) -> tuple[int, ...]:
    """Take each column in turn that is not a product of fewer than resolution - 1 earlier ones."""
    taken: list[int] = []
    products: list[set[int]] = [{0}, *(set() for _ in range(resolution - 2))]
    for column in range(1, 1 << basic):
        if len(taken) == most:
            break
        if any(column in some for some in products):
            continue
        for size in range(resolution - 2, 0, -1):
            products[size] |= {product ^ column for product in products[size - 1]}
        taken.append(column)
    return tuple(taken)


def runs(chosen: Sequence[int]) -> list[tuple[bool, ...]]:
    """Return whether each factor is high in each run; the last basic factor changes fastest."""
    basic = max(chosen).bit_length()
    table = []
    for run in range(1 << basic):
        high = sum(1 << at for at in range(basic) if run >> (basic - 1 - at) & 1)
        # a product of -1 and +1 is +1 where the number of low ones among its factors is even
        table.append(tuple((column & ~high).bit_count() % 2 == 0 for column in chosen))
    return table


_CYCLIC = (12, 20, 24)
_TWICE = 28


def plackett_burman(factors: int) -> list[tuple[bool, ...]]:
    """Return whether each factor is high in each run; the runs are the next multiple of 4 above the factors.

    Every two columns have each pair of levels equally often, so main effects are free of one another. 12, 20 and 24
    runs shift one row of squares in a cycle (Paley 1933, the rows of the paper); powers of 2 are Sylvester's; 28 runs
    are Paley's second construction.

    Args:
        factors: 1 to 31.
    """
    size = factors // 4 * 4 + 4
    make = _shifted if size in _CYCLIC else _doubled if size == _TWICE else _sylvester
    return [tuple(row[:factors]) for row in make(size)]


def _shifted(size: int) -> list[list[bool]]:
    """Return the cyclic shifts of the squares modulo a prime = size - 1, then a row of low levels."""
    prime = size - 1
    squares = {at * at % prime for at in range(prime)}
    first = [at in squares for at in range(prime)]
    return [*(first[-shift:] + first[:-shift] for shift in range(prime)), [False] * prime]


def _sylvester(size: int) -> list[list[bool]]:
    """Return the table whose columns are all products of log2(size) basic factors."""
    return [[(run & column).bit_count() % 2 == 1 for column in range(1, size)] for run in range(size)]


def _doubled(size: int) -> list[list[bool]]:
    """Replace each entry of a symmetric matrix of squares modulo size / 2 - 1 by 2 x 2 entries."""
    half, prime = size // 2, size // 2 - 1
    squares = {at * at % prime for at in range(1, prime)}

    def entry(row: int, column: int) -> int:
        if row == column:
            return 0
        if 0 in (row, column):
            return 1
        return 1 if (column - row) % prime in squares else -1

    blocks = {0: ((1, -1), (-1, -1)), 1: ((1, 1), (1, -1)), -1: ((-1, -1), (-1, 1))}
    places = [(at, inner) for at in range(half) for inner in (0, 1)]
    signs = [[blocks[entry(row, column)][i][j] for column, j in places] for row, i in places]
    return [[sign == row[0] for sign in row[1:]] for row in signs]


def fraction_runs(design: DesignSpec, factors: int) -> list[tuple[bool, ...]] | None:
    """Return whether each factor is high in each run, None where that takes too many runs.

    The design must have a resolution that the number of factors can have.
    """
    assert design.resolution is not None
    if design.fraction == "plackett_burman":
        return plackett_burman(factors)
    chosen = columns(factors, design.resolution)
    return None if chosen is None else runs(chosen)


def count_runs(design: DesignSpec, factors: int) -> int | None:
    """Count the runs of a fraction without making them, None where there are too many."""
    assert design.resolution is not None
    if design.fraction == "plackett_burman":
        return factors // 4 * 4 + 4
    chosen = columns(factors, design.resolution)
    return None if chosen is None else 1 << max(chosen).bit_length()


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
    for (column, name), (other, other_name) in combinations(zip(chosen, names, strict=True), 2):
        effects.setdefault(column ^ other, []).append(f"{name} x {other_name}")
    return (" = ".join(mixed) for mixed in effects.values() if len(mixed) > 1)


def _partial(table: Sequence[Sequence[bool]], names: Sequence[str]) -> Iterator[str]:
    signs = [[1 if row[at] else -1 for row in table] for at in range(len(names))]
    for at, name in enumerate(names):
        pairs = [pair for pair in combinations(range(len(names)), 2) if at not in pair]
        shares = {pair: _correlation(signs[at], *(signs[factor] for factor in pair)) for pair in pairs}
        if any(shares.values()):
            yield f"{name} = {_terms({pair: share for pair, share in shares.items() if share}, names)}"


def _correlation(*columns: Sequence[int]) -> Fraction:
    first, second, third = columns
    return Fraction(sum(a * b * c for a, b, c in zip(first, second, third, strict=True)), len(first))


def _terms(shares: dict[tuple[int, int], Fraction], names: Sequence[str]) -> str:
    if len(shares) <= _MOST_TERMS:
        text = " ".join(
            f"{'+' if share > 0 else '-'}{'' if abs(share) == 1 else f' {abs(share)}'} {names[factor]} x {names[other]}"
            for (factor, other), share in shares.items()
        )
        return text.removeprefix("+ ")
    counts = Counter(abs(share) for share in shares.values())
    parts = (f"{'all' if share == 1 else share} of {count} interactions" for share, count in sorted(counts.items()))
    return f"{join_words(parts, 'and')} of two other factors, with either sign"
