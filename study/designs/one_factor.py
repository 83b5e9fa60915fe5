"""The one-factor design: a baseline and every point that differs from it in one factor; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from study.config.hyperparameters import Scalar
from study.config.search_config import MOST_POINTS, DesignSpec
from study.config.search_space import Parameter, same_value
from study.designs.design import Design, Objection, Point, continuous_ranges
from study.designs.formatting import format_domain, format_settings, join_words
from study.designs.space import (
    constants,
    excluded_values,
    find_value,
    is_active,
    is_continuous,
    searched,
    values_of,
)
from study.utils.text import show_bare


class OneFactor(Design):
    """A baseline, and for each factor each other value with everything else at the baseline."""

    fields = ("baseline",)

    def objections(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
        """Object to continuous ranges, and to values that the baseline lacks or cannot have."""
        faults = (*continuous_ranges(design, space), *_baseline_values(design, space))
        yield from faults
        if not faults and most_variants(space, design.baseline) <= MOST_POINTS:
            yield from _completeness(design, space)

    def points(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Point]:
        """Return the baseline and its variants, those that cannot be run left out."""
        return (dict(variant.params) for variant in variants(space, design.baseline) if variant.refused is None)

    def count(self, design: DesignSpec, space: Sequence[Parameter]) -> int | None:
        """Count the points."""
        most = most_variants(space, design.baseline)
        return most if most > MOST_POINTS else sum(1 for _ in self.points(design, space))

    def notes(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[str]:
        """Name the parameters that are not varied and the points that are left out."""
        for name in not_varied(space, design.baseline):
            yield f"{name} is not varied: it does not exist at the baseline"
        for variant in variants(space, design.baseline):
            if variant.refused is not None:
                settings = format_settings(variant.params)
                yield f"{settings} is left out: its {variant.refused} cannot be run beside the others"


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
        baseline: values of searched parameters; those of parameters that no point has are not used.
    """
    usual = _usual(space, baseline)
    first = _variant(space, usual, None)
    yield first
    asked = {
        rule.parameter
        for parameter in space
        for rule in (*parameter.when, *(item.beside for item in parameter.excluded))
    }
    for factor in searched(space):
        if factor.name not in first.params:
            continue
        alone = factor.name not in asked and not factor.excluded
        for value in values_of(factor.domain):
            if same_value(value, usual[factor.name]):
                continue
            if alone:
                yield replace(first, params={**first.params, factor.name: value}, changed=factor.name)
            else:
                yield _variant(space, {**usual, factor.name: value}, factor.name)


def not_varied(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> tuple[str, ...]:
    """Return the searched parameters that do not exist at the baseline."""
    first = _variant(space, _usual(space, baseline), None)
    return tuple(
        parameter.name for parameter in searched(space) if parameter.name not in (*first.params, *first.lacking)
    )


def most_variants(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> int:
    """Count the points without making them, those that cannot be run too."""
    first = _variant(space, _usual(space, baseline), None)
    return 1 + sum(
        len(values_of(parameter.domain)) - 1 for parameter in searched(space) if parameter.name in first.params
    )


def _usual(space: Sequence[Parameter], baseline: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the baseline's values as their domains write them, without those that a domain lacks."""
    given = ((parameter, baseline[parameter.name]) for parameter in searched(space) if parameter.name in baseline)
    values = ((parameter.name, find_value(parameter.domain, value)) for parameter, value in given)
    return {name: value for name, value in values if value is not None}


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
        if any(same_value(value, excluded) for excluded in excluded_values(parameter, known)):
            refused.append(parameter.name)
        params[parameter.name] = known[parameter.name] = value
    return Variant(params, changed, tuple(lacking), refused[0] if refused else None)


def _baseline_values(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    for parameter in searched(space):
        value = design.baseline.get(parameter.name)
        if value is None or is_continuous(parameter.domain) or find_value(parameter.domain, value) is not None:
            continue
        admitted = format_domain(parameter.domain)
        rule = f"design.baseline.{parameter.name} must be {admitted}, as in space, got {show_bare(value)}"
        yield Objection(("design", "baseline", parameter.name), rule)


def _completeness(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    """Object to each parameter that exists in some point and has no value in the baseline, once."""
    domains = {parameter.name: parameter.domain for parameter in space}
    first, *others = variants(space, design.baseline)
    if first.lacking:
        wanted = join_words((f"{name} ({format_domain(domains[name])})" for name in first.lacking), "and")
        yield Objection(("design", "baseline"), f"design.baseline must give a value of {wanted}")
        return
    if first.refused:
        yield Objection(("design", "baseline", first.refused), _refused(first, space))
    asked: set[str] = set()
    for variant in others:
        for name in variant.lacking:
            if name not in asked:
                asked.add(name)
                assert variant.changed is not None
                why = f"it exists beside {format_settings({variant.changed: variant.params[variant.changed]})}"
                rule = f"design.baseline must give a value of {name} too, as {why}"
                yield Objection(("design", "baseline"), f"{rule}; {format_domain(domains[name])}")


def _refused(variant: Variant, space: Sequence[Parameter]) -> str:
    name = str(variant.refused)
    excluded = next(parameter for parameter in space if parameter.name == name).excluded
    beside = {item.beside.parameter for item in excluded}
    others = format_settings({other: value for other, value in variant.params.items() if other in beside})
    rule = f"design.baseline.{name}={show_bare(variant.params[name])} cannot be run beside {others}"
    return f"{rule}; choose another baseline"
