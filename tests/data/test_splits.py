"""Splits have the sizes asked for and stay put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.data.splits import assign_splits, split_sizes

FRACTIONS = (0.6, 0.2, 0.2)

fractions = st.tuples(st.integers(1, 98), st.integers(1, 98)).filter(lambda two: sum(two) <= 100)


@given(total=st.integers(3, 2000), percents=fractions)
def test_sizes_follow_the_largest_remainder(total: int, percents: tuple[int, int]) -> None:
    wanted = (percents[0] / 100, percents[1] / 100, (100 - sum(percents)) / 100)
    sizes = split_sizes(total, wanted)
    assert sum(sizes) == total
    assert all((size > 0) == (fraction > 0) for size, fraction in zip(sizes, wanted, strict=True))
    if total >= 100:  # then no part has to be lifted to 1
        assert all(abs(size - total * fraction) < 1 for size, fraction in zip(sizes, wanted, strict=True))


@pytest.mark.parametrize(
    "total, wanted, sizes",
    [
        (10, FRACTIONS, [6, 2, 2]),
        (8, FRACTIONS, [5, 2, 1]),
        (3, (0.9, 0.05, 0.05), [1, 1, 1]),
        (7, (0.5, 0.5, 0), [4, 3, 0]),
    ],
)
def test_sizes_of_known_cases(total: int, wanted: tuple[float, float, float], sizes: list[int]) -> None:
    assert split_sizes(total, wanted) == sizes


def test_a_new_file_moves_few_others() -> None:
    names = [f"{at}.png" for at in range(100)]
    before = assign_splits(names, FRACTIONS, 0)
    after = assign_splits([*names, "new.png"], FRACTIONS, 0)
    moved = sum(len(set(before[split]) - set(after[split])) for split in before)
    assert moved <= 2
