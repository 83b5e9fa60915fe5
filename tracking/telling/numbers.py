"""Write ascending numbers as short as their runs allow, and read them again; pure."""

from __future__ import annotations

from collections.abc import Iterable


def as_ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text such as ``0-2 5``; none is written twice."""
    runs: list[list[int]] = []
    for one in sorted(set(numbers)):
        if runs and runs[-1][1] == one - 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def of_ranges(text: str) -> frozenset[int]:
    """Return the numbers that ``as_ranges`` was given."""
    pairs = (one.partition("-") for one in text.split())
    return frozenset(at for first, _, last in pairs for at in range(int(first), int(last or first) + 1))
