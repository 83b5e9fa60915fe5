"""Two-level fractions: their resolution, what they mix, and that nothing smaller would do."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from study.config.search_config import DesignSpec, Fraction
from study.config.search_space import Choice, Condition, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs import count_points, design_notes, listed_points
from study.designs.fractional_factorial import columns, plackett_burman, runs
from study.designs.space import values_of
from study.errors import DesignError

TABLED = [(factors, resolution) for factors in range(3, 13) for resolution in range(3, min(factors, 10) + 1)]
SHORTEST_WORDS = {(9, 4): (4, 14), (9, 5): (0, 6), (10, 4): (8, 18), (10, 5): (0, 10), (11, 4): (12, 26),
                  (11, 5): (0, 25), (12, 4): (16, 39), (12, 5): (0, 38)}  # fmt: skip
"""By factors and basic factors, the numbers of words of 3 and 4 letters at minimum aberration (Chen, Sun & Wu 1993)."""


def aliases(spec: StudySpec) -> list[str]:
    return [note.removeprefix("aliases: ") for note in design_notes(spec) if note.startswith("aliases: ")]


def basics(chosen: tuple[int, ...]) -> int:
    return max(chosen).bit_length()


def word_lengths(chosen: tuple[int, ...]) -> tuple[int, ...]:
    """Count the words of the defining relation by length, from every set of factors."""
    products = [0]
    sizes = [0]
    for column in chosen:
        products += [product ^ column for product in products]
        sizes += [size + 1 for size in sizes]
    counts = Counter(size for product, size in zip(products, sizes, strict=True) if product == 0 and size)
    return tuple(counts[size] for size in range(1, len(chosen) + 1))


def resolution_of(chosen: tuple[int, ...]) -> int:
    return next(size for size, count in enumerate(word_lengths(chosen), start=1) if count)


def signs(table: list[tuple[bool, ...]]) -> np.ndarray:
    return np.where(np.array(table), 1, -1)


def all_fractions(factors: int, basic: int, resolution: int) -> list[tuple[int, ...]]:
    """Return every choice of added columns whose words may be long enough."""
    singles = tuple(1 << at for at in range(basic))
    long = [column for column in range(1, 1 << basic) if column.bit_count() >= max(resolution - 1, 2)]
    return [(*singles, *added) for added in combinations(long, factors - basic)]


@pytest.mark.parametrize("factors, resolution", TABLED)
def test_a_regular_fraction_has_its_resolution_and_balanced_orthogonal_columns(factors: int, resolution: int) -> None:
    chosen = columns(factors, resolution)
    assert chosen is not None
    assert len(chosen) == factors
    assert resolution_of(chosen) >= resolution
    table = signs(runs(chosen))
    assert table.shape == (1 << basics(chosen), factors)
    assert len(np.unique(table, axis=0)) == len(table)
    assert not table.sum(axis=0).any()
    assert (table.T @ table == len(table) * np.eye(factors)).all()


@pytest.mark.parametrize("factors, resolution", [size for size in TABLED if size[0] <= 9])
def test_no_smaller_fraction_has_the_resolution_and_none_as_small_has_fewer_short_words(
    factors: int, resolution: int
) -> None:
    chosen = columns(factors, resolution)
    assert chosen is not None
    smaller = all_fractions(factors, basics(chosen) - 1, resolution) if basics(chosen) > 2 else []
    assert all(resolution_of(chosen) < resolution for chosen in smaller)
    as_small = all_fractions(factors, basics(chosen), resolution)
    assert word_lengths(chosen) == min(map(word_lengths, as_small))


@pytest.mark.parametrize("size", list(SHORTEST_WORDS))
def test_larger_fractions_have_the_published_word_lengths(size: tuple[int, int]) -> None:
    designs = {
        chosen for resolution in (3, 4) if (chosen := columns(size[0], resolution)) and basics(chosen) == size[1]
    }
    assert [word_lengths(chosen)[2:4] for chosen in designs] == [SHORTEST_WORDS[size]]


@pytest.mark.parametrize(
    "factors, resolution, basic", [(13, 3, 4), (31, 3, 5), (16, 4, 5), (31, 4, 6), (17, 5, 8), (23, 7, 11), (24, 8, 12)]
)
def test_more_factors_than_any_table_has_get_a_fraction_as_small_as_the_best_codes(
    factors: int, resolution: int, basic: int
) -> None:
    """The lengths are those of perfect or otherwise optimal codes: Hamming, even weight, quadratic residue, Golay."""
    chosen = columns(factors, resolution)
    assert chosen is not None
    assert basics(chosen) == basic
    sums = {0: 1}
    for size in range(1, resolution // 2 + 1):
        for some in combinations(chosen, size):
            total = 0
            for column in some:
                total ^= column
            assert total not in sums or sums[total] + size >= resolution
            sums.setdefault(total, size)


def test_a_fraction_beyond_any_number_of_runs_is_not_made() -> None:
    assert columns(31, 10) is None


@pytest.mark.parametrize("factors", range(1, 32))
def test_plackett_and_burman_take_the_next_multiple_of_four_and_stay_orthogonal(factors: int) -> None:
    table = signs(plackett_burman(factors))
    assert len(table) % 4 == 0
    assert factors < len(table) <= factors + 4
    assert not table.sum(axis=0).any()
    assert (table.T @ table == len(table) * np.eye(factors)).all()


@pytest.mark.parametrize(
    "factors, row", [(11, "++-+++---+-"), (19, "++--++++-+-+----++-"), (23, "+++++-+-++--++--+-+----")]
)
def test_plackett_and_burman_shift_the_published_rows(factors: int, row: str) -> None:
    table = ["".join("+" if high else "-" for high in row) for row in plackett_burman(factors)]
    assert table[0] == row
    assert set(table) == {row[at:] + row[:at] for at in range(factors)} | {"-" * factors}


def make(factors: int, resolution: int, fraction: Fraction = "regular") -> StudySpec:
    space = tuple(Parameter(name=f"f{at}", domain=Choice(values=(-1, 1))) for at in range(factors))
    design = DesignSpec(kind="factorial", resolution=resolution, fraction=fraction)
    return StudySpec(name="x", space=space, design=design)


def model_matrix(spec: StudySpec) -> tuple[list[str], np.ndarray]:
    """Return every main effect and two-factor interaction with its column over the points."""
    names = [parameter.name for parameter in spec.space]
    points = np.array([[point[name] for name in names] for point in listed_points(spec) or ()])
    effects = {name: points[:, at] for at, name in enumerate(names)}
    for (i, name), (j, other) in combinations(enumerate(names), 2):
        effects[f"{name} x {other}"] = points[:, i] * points[:, j]
    return list(effects), np.array(list(effects.values()))


@pytest.mark.parametrize("factors, resolution", TABLED)
def test_effects_are_called_aliases_where_their_columns_are_the_same(factors: int, resolution: int) -> None:
    spec = make(factors, resolution)
    names, effects = model_matrix(spec)
    correlation = effects @ effects.T / effects.shape[1]
    assert set(np.unique(correlation)) <= {0, 1}
    groups = {tuple(names[at] for at in np.flatnonzero(row)) for row in correlation}
    assert {tuple(line.split(" = ")) for line in aliases(spec)} == {group for group in groups if len(group) > 1}
    if resolution >= 5:
        assert design_notes(spec) == ("no main effect and no interaction of two factors is mixed with another",)


@pytest.mark.parametrize("factors", [3, 4, 6, 11, 13, 19, 25])
def test_partial_aliases_are_the_correlations_with_interactions(factors: int) -> None:
    spec = make(factors, 3, "plackett_burman")
    names, effects = model_matrix(spec)
    correlation = effects[:factors] @ effects[factors:].T / effects.shape[1]
    lines = dict(line.split(" = ") for line in aliases(spec))
    assert list(lines) == [name for name, row in zip(names, correlation, strict=False) if row.any()]
    for name, row in zip(names, correlation, strict=False):
        if 0 < np.count_nonzero(row) <= 10:
            assert read_terms(lines[name]) == {
                pair: pytest.approx(share) for pair, share in zip(names[factors:], row, strict=True) if share
            }


def read_terms(text: str) -> dict[str, float]:
    """Read ``1/3 a x b - c x d`` back."""
    shares: dict[str, float] = {}
    sign, share = 1.0, 1.0
    words = text.split()
    for at, word in enumerate(words):
        if word in "+-":
            sign = -1.0 if word == "-" else 1.0
        elif "/" in word:
            share = int(word.split("/")[0]) / int(word.split("/")[1])
        elif word == "x":
            shares[f"{words[at - 1]} x {words[at + 1]}"] = sign * share
            sign, share = 1.0, 1.0
    return shares


def test_twelve_runs_mix_a_third_of_every_interaction_of_two_others() -> None:
    lines = aliases(make(11, 3, "plackett_burman"))
    assert lines[0] == "f0 = 1/3 of 45 interactions of two other factors, with either sign"
    assert len(lines) == 11
    twenty = aliases(make(19, 3, "plackett_burman"))
    assert twenty[0].startswith("f0 = 1/5 of ")
    assert " and 3/5 of " in twenty[0]


def test_a_range_stands_for_its_ends() -> None:
    space = (
        Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
        Parameter(name="batch_size", domain=Integer(low=16, high=60, step=16)),
        Parameter(name="nesterov", domain=Choice(values=(False, True))),
    )
    spec = StudySpec(name="x", space=space, design=DesignSpec(kind="factorial", resolution=3))
    assert list(listed_points(spec) or ()) == [
        {"learning_rate": 1e-4, "batch_size": 16, "nesterov": True},
        {"learning_rate": 1e-4, "batch_size": 48, "nesterov": False},
        {"learning_rate": 1e-1, "batch_size": 16, "nesterov": False},
        {"learning_rate": 1e-1, "batch_size": 48, "nesterov": True},
    ]
    assert aliases(spec)[0] == "learning_rate = batch_size x nesterov"
    assert count_points(spec) == 4


def test_a_full_factorial_is_a_grid_without_aliases() -> None:
    spec = make(3, 3).model_copy(update={"design": DesignSpec(kind="factorial")})
    assert count_points(spec) == 8
    assert len(list(listed_points(spec) or ())) == 8
    assert design_notes(spec) == ()


def test_a_factor_that_lost_a_value_or_is_not_everywhere_is_refused() -> None:
    spec = make(4, 4)
    first, second, *others = spec.space
    lost = first.model_copy(update={"domain": Choice(values=(1,))})
    with pytest.raises(DesignError, match=r"takes two values of each factor, but space\.f0 has 1"):
        count_points(spec.model_copy(update={"space": (lost, second, *others)}))
    hanging = second.model_copy(update={"when": (Condition(parameter="f0", values=(values_of(first.domain)[0],)),)})
    with pytest.raises(DesignError, match=r"every factor in every point, but space\.f1 has a `when`"):
        listed_points(spec.model_copy(update={"space": (first, hanging, *others)}))
