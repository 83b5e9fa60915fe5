"""Say which parameters exist in a point, and list every point of a finite space; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from study.hyperparameters import Scalar
from study.spec import Choice, Constant, Integer, Parameter, Uniform, same_value


def constants(space: Iterable[Parameter]) -> dict[str, Scalar]:
    """Return the values of the parameters that a space fixes."""
    return {one.name: one.domain.value for one in space if isinstance(one.domain, Constant)}


def is_active(parameter: Parameter, params: Mapping[str, Scalar]) -> bool:
    """Whether a parameter exists beside these values: every condition holds, and so its parents exist."""
    return all(one.parameter in params and one.holds(params[one.parameter]) for one in parameter.when)


def grid_points(space: Sequence[Parameter]) -> Iterator[dict[str, Scalar]]:
    """Yield every combination of a space once, the last parameter changing fastest.

    Where a condition rules a parameter out it is not in the point, and no point comes twice for it. Points are made
    as they are asked for: a grid may have more than memory holds.

    Raises:
        ValueError: a domain is a continuous range.
    """
    searched = [one for one in space if not isinstance(one.domain, Constant)]
    for parameter in searched:
        _listed(parameter)
    return _points({}, searched, constants(space))


def _points(
    point: dict[str, Scalar], searched: Sequence[Parameter], fixed: Mapping[str, Scalar]
) -> Iterator[dict[str, Scalar]]:
    if not searched:
        yield point
        return
    for grown in _grow(point, searched[0], fixed):
        yield from _points(grown, searched[1:], fixed)


def _grow(point: dict[str, Scalar], parameter: Parameter, fixed: Mapping[str, Scalar]) -> Iterator[dict[str, Scalar]]:
    known = {**fixed, **point}
    if not is_active(parameter, known):
        yield point
        return
    removed = [one.value for one in parameter.excluded if one.beside.holds(known.get(one.beside.parameter))]
    values = _listed(parameter)
    for value in without(values, removed) if removed else values:
        yield {**point, parameter.name: value}


def _listed(parameter: Parameter) -> Iterable[Scalar]:
    match parameter.domain:
        case Choice(values=values):
            return values
        case Integer(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case Uniform(low=low, high=high, step=float(step)):
            first, by = Decimal(str(low)), Decimal(str(step))
            steps = int((Decimal(str(high)) - first) // by)
            return (float(first + at * by) for at in range(steps + 1))
    raise ValueError(f"a grid needs listed values, but {parameter.name} is searched over a continuous range")


def without(values: Iterable[Scalar], removed: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """Return the values that are not among the removed ones."""
    return tuple(one for one in values if not any(same_value(one, other) for other in removed))
