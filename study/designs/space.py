"""The parameters of a space: which exist beside some values, and which values they take; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from math import isfinite

from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Constant, Domain, Integer, Parameter, Uniform, same_value


def constants(space: Iterable[Parameter]) -> dict[str, Scalar]:
    """Return the values of the parameters that a space fixes."""
    return {parameter.name: parameter.domain.value for parameter in space if isinstance(parameter.domain, Constant)}


def searched(space: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """Return the parameters that a space does not fix."""
    return tuple(parameter for parameter in space if not isinstance(parameter.domain, Constant))


def parents_first(needs: Mapping[str, Set[str]]) -> list[str]:
    """Return names after all they need, otherwise in order; those in a cycle, or behind one, are left out."""
    waiting, ordered = list(needs), dict[str, None]()
    while (name := next((name for name in waiting if needs[name] <= ordered.keys()), None)) is not None:
        waiting.remove(name)
        ordered[name] = None
    return list(ordered)


def is_active(parameter: Parameter, params: Mapping[str, Scalar]) -> bool:
    """Whether a parameter exists beside these values: every condition holds, and so its parents exist."""
    return all(
        condition.parameter in params and condition.holds(params[condition.parameter]) for condition in parameter.when
    )


def is_continuous(domain: Domain) -> bool:
    """Whether a domain has more values than can be listed."""
    return isinstance(domain, Uniform) and domain.step is None


def values_of(domain: Domain) -> Sequence[Scalar]:
    """Return the values of a domain in order; those of a range are made when they are read.

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


def find_value(domain: Domain, value: object) -> Scalar | None:
    """Return the value of a domain that is the same as this one, None where it has none; 0 is 0.0 but not false."""
    values = values_of(domain)
    if isinstance(values, tuple):
        return next((candidate for candidate in values if same_value(candidate, value)), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    if isinstance(values, range):  # which looks for an int at once, for 2.0 one by one
        value = int(value) if value == int(value) else value
        return value if isinstance(value, int) and value in values else None
    return float(value) if value in values else None


def excluded_values(parameter: Parameter, known: Mapping[str, Scalar]) -> list[Scalar]:
    """Return the values that cannot be run beside those known."""
    return [
        exclusion.value
        for exclusion in parameter.excluded
        if exclusion.beside.parameter in known and exclusion.beside.holds(known[exclusion.beside.parameter])
    ]


def without(values: Iterable[Scalar], removed: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Return the values that are not among the removed ones."""
    return tuple(value for value in values if not any(same_value(value, excluded) for excluded in removed))
