"""Make the points of a two-level fraction; pure."""

from __future__ import annotations

from collections.abc import Sequence

from study.design.plackett_burman import plackett_burman
from study.design.regular import columns, runs
from study.hyperparameters import Scalar
from study.points import is_continuous, searched, values_of
from study.spec import Choice, Domain, Parameter, Uniform
from study.steering import DesignSpec


def levels(domain: Domain) -> tuple[Scalar, Scalar] | None:
    """Return the low and the high value of a factor: both choices, or the ends of a range; None for other choices."""
    if isinstance(domain, Uniform) and is_continuous(domain):
        return domain.low, domain.high
    values = values_of(domain)
    if isinstance(domain, Choice) and len(values) != 2:
        return None
    return values[0], values[-1]


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


def fraction_points(design: DesignSpec, space: Sequence[Parameter]) -> list[dict[str, Scalar]]:
    """Return the points of a fraction that the space admits, the last basic factor changing fastest."""
    factors = searched(space)
    table = fraction_runs(design, len(factors))
    assert table is not None
    ends = [levels(one.domain) for one in factors]
    return [
        {one.name: end[high] for one, end, high in zip(factors, ends, row, strict=True) if end is not None}
        for row in table
    ]
