"""Make regular two-level fractions, which take some factors as products of others; pure.

A factor is a column: the set of basic factors whose product it is, as a bit mask. A word is a set of factors whose
product is the same in every run; the shortest word is as long as the resolution.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

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
        found = _greedy(basic, resolution, factors)
        if len(found) == factors:
            singles = tuple(1 << at for at in range(basic))
            added = _tabled(factors, basic) or tuple(one for one in found if one.bit_count() > 1)
            return (*singles, *added)
    return None


def _tabled(factors: int, basic: int) -> tuple[int, ...]:
    if factors > _TABLED:
        return ()
    added = _ADDED[factors, basic].split() if factors - basic > 1 else [_LETTERS[:basic]]
    return tuple(sum(1 << _LETTERS.index(letter) for letter in one) for one in added)


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
            products[size] |= {one ^ column for one in products[size - 1]}
        taken.append(column)
    return tuple(taken)


def runs(chosen: Sequence[int]) -> list[tuple[bool, ...]]:
    """Return whether each factor is high in each run; the last basic factor changes fastest."""
    basic = max(chosen).bit_length()
    table = []
    for run in range(1 << basic):
        high = sum(1 << at for at in range(basic) if run >> (basic - 1 - at) & 1)
        # a product of -1 and +1 is +1 where the number of low ones among its factors is even
        table.append(tuple((one & ~high).bit_count() % 2 == 0 for one in chosen))
    return table
