"""Say which parameters exist in a point, and list or count every point of a finite space; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from math import prod

from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Constant, Domain, Integer, Parameter, Uniform, same_value

_OTHER = "\0any other value"


def constants(space: Iterable[Parameter]) -> dict[str, Scalar]:
    """Return the values of the parameters that a space fixes."""
    return {one.name: one.domain.value for one in space if isinstance(one.domain, Constant)}


def searched(space: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """Return the parameters that a space does not fix."""
    return tuple(one for one in space if not isinstance(one.domain, Constant))


def is_active(parameter: Parameter, params: Mapping[str, Scalar]) -> bool:
    """Whether a parameter exists beside these values: every condition holds, and so its parents exist."""
    return all(one.parameter in params and one.holds(params[one.parameter]) for one in parameter.when)


def is_continuous(domain: Domain) -> bool:
    """Whether a domain has more values than can be listed."""
    return isinstance(domain, Uniform) and domain.step is None


def values_of(domain: Domain) -> Sequence[Scalar]:
    """Return the values of a domain in order, made only as they are asked for.

    Raises:
        ValueError: it is a continuous range.
    """
    match domain:
        case Choice(values=values):
            return values
        case Constant(value=value):
            return (value,)
        case Integer(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case Uniform(low=low, high=high, step=float(step)):
            return _Steps(low, high, step)
    raise ValueError("a continuous range has no list of values")


class _Steps(Sequence[Scalar]):
    """The values low, low + step, ... <= high, in decimals, where 0.1 + 2 * 0.1 is 0.3."""

    def __init__(self, low: float, high: float, step: float) -> None:
        self._first, self._by = Decimal(str(low)), Decimal(str(step))
        self._count = int((Decimal(str(high)) - self._first) // self._by) + 1

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int) -> float:  # type: ignore[override]
        if not -self._count <= at < self._count:
            raise IndexError(at)
        return float(self._first + at % self._count * self._by)

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        at = (Decimal(str(value)) - self._first) / self._by
        return at == int(at) and 0 <= at < self._count


def find_value(domain: Domain, value: Scalar) -> Scalar | None:
    """Return the value of a domain that is the same as this one, None where it has none; 0 is 0.0 but not false."""
    values = values_of(domain)
    if isinstance(values, tuple):
        return next((one for one in values if same_value(one, value)), None)
    if isinstance(value, bool) or value not in values:
        return None
    return type(values[0])(value)


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


def excluded_values(parameter: Parameter, known: Mapping[str, Scalar]) -> list[Scalar]:
    """Return the values that cannot be run beside those known."""
    return [
        one.value
        for one in parameter.excluded
        if one.beside.parameter in known and one.beside.holds(known[one.beside.parameter])
    ]


def count_grid(space: Sequence[Parameter]) -> int | None:
    """Count the combinations of a space without making them; None where a range is continuous."""
    if any(is_continuous(one.domain) for one in space):
        return None
    return _GridCounter(space).count(0, constants(space))


class _GridCounter:
    """Count the ways to go on from the values known so far.

    Of a parameter only the values that a condition or an exclusion names are told apart, and of the values known
    only those that a later parameter asks for; so the work does not grow with the number of points.
    """

    def __init__(self, space: Sequence[Parameter]) -> None:
        self._space = searched(space)
        needed: list[frozenset[str]] = [frozenset()]
        self._named: dict[str, list[Scalar]] = {}
        for parameter in reversed(self._space):
            asked = [*parameter.when, *(one.beside for one in parameter.excluded)]
            for one in asked:
                self._named.setdefault(one.parameter, []).extend(one.values)
            needed.append(needed[-1] | {one.parameter for one in asked})
        self._needed = needed[::-1]
        self._known: dict[tuple[int, frozenset[tuple[str, bool, Scalar]]], int] = {}

    def count(self, at: int, known: Mapping[str, Scalar]) -> int:
        """Count the points that begin with these values and go on with the parameter at this place."""
        if not self._needed[at]:
            return prod(len(values_of(one.domain)) for one in self._space[at:])
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
        found = (find_value(parameter.domain, one) for one in self._named.get(parameter.name, ()))
        told = {(isinstance(one, bool), one) for one in found if one is not None and one in left}
        ways = sum(self.count(at + 1, {**known, parameter.name: value}) for _, value in told)
        others = len(left) - len(told)
        return ways + (others * self.count(at + 1, {**known, parameter.name: _OTHER}) if others else 0)


def without(values: Iterable[Scalar], removed: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Return the values that are not among the removed ones."""
    return tuple(one for one in values if not any(same_value(one, other) for other in removed))
