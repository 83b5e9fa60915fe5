"""Make the two-level designs of Plackett & Burman 1946 ("The design of optimum multifactorial experiments"); pure."""

from __future__ import annotations

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
