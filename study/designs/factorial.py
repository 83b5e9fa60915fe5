"""The factorial design: every combination of a space, or a two-level fraction of them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from study.config.hyperparameters import Scalar
from study.config.search_config import DesignSpec
from study.config.search_space import Choice, Domain, Parameter, Uniform
from study.designs.design import Objection, Point
from study.designs.formatting import join_words
from study.designs.fractional_factorial import alias_lines, count_runs, fraction_runs
from study.designs.grid import Grid
from study.designs.space import is_continuous, searched, values_of

LEAST_RESOLUTION = 3


class Factorial(Grid):
    """Every combination, or with a ``resolution`` the smallest two-level fraction that has it."""

    fields = ("resolution", "fraction")

    def form_objections(self, design: DesignSpec) -> Iterator[Objection]:
        """Object to a resolution that the fraction does not have."""
        if design.fraction == "regular":
            return
        if design.resolution is None:
            rule = "design.fraction needs a resolution, without which every combination is run"
            yield Objection(("design", "fraction"), f"{rule}; add resolution: {LEAST_RESOLUTION}")
        elif design.resolution != LEAST_RESOLUTION:
            rule = f"design.resolution must be {LEAST_RESOLUTION} for plackett_burman, got {design.resolution}"
            yield Objection(("design", "resolution"), f"{rule}; leave fraction out for more")

    def objections(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
        """Object to factors that have no two levels or do not exist in every point, and to too high a resolution."""
        return super().objections(design, space) if design.resolution is None else _fraction(design, space)

    def points(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Point]:
        """Return every combination, or the runs of the fraction."""
        return super().points(design, space) if design.resolution is None else iter(_fraction_points(design, space))

    def count(self, design: DesignSpec, space: Sequence[Parameter]) -> int | None:
        """Count the points; None where a fraction takes too many."""
        if design.resolution is None:
            return super().count(design, space)
        return count_runs(design, len(searched(space)))

    def notes(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[str]:
        """Name the effects that a fraction mixes."""
        if design.resolution is None:
            return
        mixed = alias_lines(design, [factor.name for factor in searched(space)])
        yield from (f"aliases: {effects}" for effects in mixed)
        if not mixed:
            yield "no main effect and no interaction of two factors is mixed with another"


def _fraction_points(design: DesignSpec, space: Sequence[Parameter]) -> list[dict[str, Scalar]]:
    """Return the points of a fraction that the space admits, the last basic factor changing fastest."""
    factors = searched(space)
    table = fraction_runs(design, len(factors))
    assert table is not None
    ends = [_levels(factor.domain) for factor in factors]
    return [
        {factor.name: end[high] for factor, end, high in zip(factors, ends, row, strict=True) if end is not None}
        for row in table
    ]


def _levels(domain: Domain) -> tuple[Scalar, Scalar] | None:
    """Return the low and the high value of a factor: both choices, or the ends of a range; None for other choices."""
    if isinstance(domain, Uniform) and is_continuous(domain):
        return domain.low, domain.high
    values = values_of(domain)
    if isinstance(domain, Choice) and len(values) != 2:
        return None
    return values[0], values[-1]


def _fraction(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    factors = searched(space)
    for factor in factors:
        yield from _factor(factor)
    assert design.resolution is not None
    if design.resolution > len(factors):
        yield Objection(("design", "resolution"), _too_high(design.resolution, len(factors)))
    elif count_runs(design, len(factors)) is None:
        rule = f"design.resolution {design.resolution} takes more than 65536 runs for {len(factors)} factors"
        yield Objection(("design", "resolution"), f"{rule}; lower it or search fewer")


def _factor(factor: Parameter) -> Iterator[Objection]:
    if _levels(factor.domain) is None:
        assert isinstance(factor.domain, Choice)
        rule = f"a fraction takes two values of each factor, but space.{factor.name} has {len(factor.domain.values)}"
        yield Objection(("space", factor.name), f"{rule}; keep two, give it as a constant, or remove design.resolution")
    if factor.when:
        rule = f"a fraction needs every factor in every point, but space.{factor.name} has a `when`"
        yield Objection(
            ("space", factor.name), f"{rule}; remove it, or remove design.resolution to run all combinations"
        )
    for beside in dict.fromkeys(item.beside.parameter for item in factor.excluded):
        rule = f"a fraction needs every combination to be possible, but space.{factor.name} cannot be run beside every"
        yield Objection(("space", factor.name), f"{rule} {beside}; take the values that cannot out of space")


def _too_high(resolution: int, factors: int) -> str:
    rule = f"design.resolution must be <= the number of factors = {factors}, got {resolution}"
    everything = f"remove it to run all combinations of {factors} factors"
    if factors < LEAST_RESOLUTION:
        return f"{rule}; {everything}"
    return f"{rule}; use {join_words(map(str, range(LEAST_RESOLUTION, factors + 1)))}, or {everything}"
