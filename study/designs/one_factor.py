"""List a baseline and every point that differs from it in one factor; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.config.hyperparameters import Scalar
from study.config.search_space import Parameter, same_value
from study.designs.grid import constants, excluded_values, find_value, is_active, searched, values_of


@dataclass(frozen=True)
class Variant:
    """One point of the design.

    ``changed`` is the factor with another value than the baseline's, None for the baseline itself; ``lacking`` are the
    parameters that exist in it and have no value; ``refused`` is the first with a value that cannot be run beside
    the others.
    """

    params: Mapping[str, Scalar]
    changed: str | None = None
    lacking: tuple[str, ...] = ()
    refused: str | None = None


def variants(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> Iterator[Variant]:
    """Yield the baseline first, then factor by factor each other value, everything else as in the baseline.

    A factor that does not exist at the baseline is not varied, and parameters that do not exist beside a changed
    factor are not in that point, so no point comes twice.

    Args:
        space: ordered so that parents come before children, without continuous ranges.
        baseline: values of searched parameters; those that no point asks for are not used.
    """
    usual = _usual(space, baseline)
    first = _variant(space, usual, None)
    yield first
    for factor in searched(space):
        if factor.name not in first.params:
            continue
        for value in values_of(factor.domain):
            if not same_value(value, usual[factor.name]):
                yield _variant(space, {**usual, factor.name: value}, factor.name)


def not_varied(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> tuple[str, ...]:
    """Return the searched parameters that do not exist at the baseline."""
    first = _variant(space, _usual(space, baseline), None)
    return tuple(one.name for one in searched(space) if one.name not in (*first.params, *first.lacking))


def most_variants(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> int:
    """Count the points without making them, those that cannot be run too."""
    first = _variant(space, _usual(space, baseline), None)
    return 1 + sum(len(values_of(one.domain)) - 1 for one in searched(space) if one.name in first.params)


def _usual(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the baseline's values as their domains write them, without those that a domain lacks."""
    given = ((one, baseline[one.name]) for one in searched(space) if one.name in baseline)
    found = ((one.name, find_value(one.domain, value)) for one, value in given)
    return {name: value for name, value in found if value is not None}


def _variant(space: Sequence[Parameter], values: Mapping[str, Scalar], changed: str | None) -> Variant:
    known, params = constants(space), dict[str, Scalar]()
    lacking: list[str] = []
    refused: list[str] = []
    for parameter in searched(space):
        if not is_active(parameter, known):
            continue
        if parameter.name not in values:
            lacking.append(parameter.name)
            continue
        value = values[parameter.name]
        if any(same_value(value, one) for one in excluded_values(parameter, known)):
            refused.append(parameter.name)
        params[parameter.name] = known[parameter.name] = value
    return Variant(params, changed, tuple(lacking), refused[0] if refused else None)
