"""The grid: every combination of a space whose values can be listed, made or counted; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from study.config.hyperparameters import Scalar
from study.config.search_config import DesignSpec
from study.config.search_space import Parameter
from study.designs.design import Design, Objection, Point, continuous_ranges
from study.designs.space import (
    constants,
    excluded_values,
    find_value,
    is_active,
    is_continuous,
    searched,
    values_of,
    without,
)

_OTHER = "\0any other value"


class Grid(Design):
    """Every combination once."""

    def objections(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
        """Object to continuous ranges."""
        return continuous_ranges(design, space)

    def points(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Point]:
        """Return every combination, the last parameter changing fastest."""
        return grid_points(space)

    def count(self, design: DesignSpec, space: Sequence[Parameter]) -> int | None:
        """Count the combinations."""
        return count_grid(space)


def grid_points(space: Sequence[Parameter]) -> Iterator[dict[str, Scalar]]:
    """Yield every combination of a space once, the last parameter changing fastest.

    Where a condition rules a parameter out it is not in the point, and no point comes twice for it. Points are made
    as they are asked for: a grid may have more than memory holds.

    Raises:
        ValueError: a domain is a continuous range.
    """
    for parameter in space:
        if is_continuous(parameter.domain):
            raise ValueError(f"a grid needs listed values, but {parameter.name} is searched over a continuous range")
    return _points({}, searched(space), constants(space))


def _points(
    point: dict[str, Scalar], remaining: Sequence[Parameter], fixed: Mapping[str, Scalar]
) -> Iterator[dict[str, Scalar]]:
    if not remaining:
        yield point
        return
    for grown in _grow(point, remaining[0], fixed):
        yield from _points(grown, remaining[1:], fixed)


def _grow(point: dict[str, Scalar], parameter: Parameter, fixed: Mapping[str, Scalar]) -> Iterator[dict[str, Scalar]]:
    known = {**fixed, **point}
    if not is_active(parameter, known):
        yield point
        return
    removed = excluded_values(parameter, known)
    values = values_of(parameter.domain)
    for value in without(values, removed) if removed else values:
        yield {**point, parameter.name: value}


def count_grid(space: Sequence[Parameter]) -> int | None:
    """Count the combinations of a space without making them; None where a range is continuous."""
    if any(is_continuous(parameter.domain) for parameter in space):
        return None
    return _GridCounter(space).count(0, constants(space))


class _GridCounter:
    """Count the points of a space parameter by parameter.

    Values that no condition and no exclusion names are counted together, and a value is remembered only as long as a
    later parameter depends on it; so the work does not grow with the number of points.
    """

    def __init__(self, space: Sequence[Parameter]) -> None:
        self._space = searched(space)
        needed: list[frozenset[str]] = [frozenset()]
        self._named: dict[str, list[Scalar]] = {}
        for parameter in reversed(self._space):
            asked = [*parameter.when, *(exclusion.beside for exclusion in parameter.excluded)]
            for condition in asked:
                self._named.setdefault(condition.parameter, []).extend(condition.values)
            needed.append(needed[-1] | {condition.parameter for condition in asked})
        self._needed = needed[::-1]
        self._known: dict[tuple[int, frozenset[tuple[str, bool, Scalar]]], int] = {}

    def count(self, at: int, known: Mapping[str, Scalar]) -> int:
        """Count the points that begin with these values and go on with the parameter at this place."""
        if not self._needed[at]:
            return prod(len(values_of(parameter.domain)) for parameter in self._space[at:])
        known = {name: value for name, value in known.items() if name in self._needed[at]}
        key = (at, frozenset((name, isinstance(value, bool), value) for name, value in known.items()))
        if key not in self._known:
            self._known[key] = self._count(at, known)
        return self._known[key]

    def _count(self, at: int, known: Mapping[str, Scalar]) -> int:
        parameter = self._space[at]
        if not is_active(parameter, known):
            return self.count(at + 1, known)
        removed = excluded_values(parameter, known)
        values = values_of(parameter.domain)
        left = without(values, removed) if removed else values
        named = (find_value(parameter.domain, value) for value in self._named.get(parameter.name, ()))
        distinct = {(isinstance(value, bool), value) for value in named if value is not None and value in left}
        ways = sum(self.count(at + 1, {**known, parameter.name: value}) for _, value in distinct)
        others = len(left) - len(distinct)
        return ways + (others * self.count(at + 1, {**known, parameter.name: _OTHER}) if others else 0)
