"""Find which values of two hyperparameters one trial can have; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from study.hyperparameters import Scalar
from study.spec import Choice, Constant, Domain, Integer, Parameter
from study.spec_file.conditions import requirements

Values = frozenset[tuple[bool, Scalar]]
Way = Mapping[str, Values]
"""What parameters must be for something to happen; those not named may be anything."""


def drawn_together(
    one: str, other: str, parameters: Mapping[str, Parameter], fixed: Mapping[str, Scalar]
) -> list[tuple[Scalar, Scalar]]:
    """Return every pair of values a trial can have, in the order of the file.

    Args:
        one: a hyperparameter that is not continuous.
        other: likewise.
        parameters: the space; the ancestors of both must be in it.
        fixed: the value of each where it is not searched, or does not exist because its conditions do not hold.
    """
    pairs = (
        (first, second)
        for first, way in _ways(one, parameters, fixed[one])
        for second, other_way in _ways(other, parameters, fixed[other])
        if all(way[name] & other_way[name] for name in way.keys() & other_way.keys())
    )
    return list(dict.fromkeys(pairs))


def _ways(name: str, parameters: Mapping[str, Parameter], fixed: Scalar) -> list[tuple[Scalar, Way]]:
    """Return each value of a hyperparameter with what must hold for it.

    It exists where all of its ancestors have the right values, which are independent of each other; it does not
    where any one that exists has a wrong value.
    """
    if name not in parameters:
        return [(fixed, {})]
    needed = _needed(name, parameters)
    ways: list[tuple[Scalar, Way]] = []
    for value in _values(parameters[name].domain):
        ways.append((value, {**needed, name: _comparable([value])}))
    for parent, right in needed.items():
        if wrong := _comparable(_values(parameters[parent].domain)) - right:
            ways.append((fixed, {**_needed(parent, parameters), parent: wrong}))
    return [(value, way) for value, way in ways if all(way.values())]


def _needed(name: str, parameters: Mapping[str, Parameter]) -> dict[str, Values]:
    return {parent: _comparable(values) for parent, values in requirements(name, parameters).items()}


def _comparable(values: Iterable[Scalar]) -> Values:
    """Tell true from 1, which Python calls equal."""
    return frozenset((isinstance(one, bool), one) for one in values)


def _values(domain: Domain) -> Iterable[Scalar]:
    if isinstance(domain, Choice):
        return domain.values
    if isinstance(domain, Constant):
        return (domain.value,)
    assert isinstance(domain, Integer)  # nothing can be conditional on a continuous range
    return range(domain.low, domain.high + 1, domain.step)
