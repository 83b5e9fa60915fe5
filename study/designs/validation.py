"""Say why a space does not admit a design, each reason with its place in the study file; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.config.search_config import MOST_POINTS, DesignSpec
from study.config.search_space import Choice, Parameter
from study.designs.formatting import format_domain, format_settings, format_value, join_words
from study.designs.fractional_factorial import count_runs, levels
from study.designs.grid import count_grid, find_value, is_continuous, searched
from study.designs.one_factor import Variant, most_variants, variants

LEAST_RESOLUTION = 3


@dataclass(frozen=True)
class Objection:
    """Why a design cannot be, and the key of the study file that is to blame."""

    loc: tuple[str, ...]
    message: str


def form_objections(design: DesignSpec) -> Iterator[Objection]:
    """Say what a design has that its kind does not have; whatever the space."""
    kind = design.kind
    if design.baseline and kind != "one_factor":
        law = f"design.baseline belongs to design one_factor, but design.kind is {kind}"
        yield Objection(("design", "baseline"), f"{law}; remove it or set kind: one_factor")
    if design.resolution is not None and kind != "factorial":
        law = f"design.resolution belongs to design factorial, but design.kind is {kind}"
        yield Objection(("design", "resolution"), f"{law}; remove it or set kind: factorial")
    if design.fraction == "regular":
        return
    if kind != "factorial":
        law = f"design.fraction belongs to design factorial, but design.kind is {kind}"
        yield Objection(("design", "fraction"), f"{law}; remove it or set kind: factorial")
    elif design.resolution is None:
        law = "design.fraction needs a resolution, without which every combination is run"
        yield Objection(("design", "fraction"), f"{law}; add resolution: {LEAST_RESOLUTION}")
    elif design.resolution != LEAST_RESOLUTION:
        law = f"design.resolution must be {LEAST_RESOLUTION} for plackett_burman, got {design.resolution}"
        yield Objection(("design", "resolution"), f"{law}; leave fraction out for more")


def space_objections(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    """Say why a space, ordered so that parents come before children, does not admit a design of sound form."""
    if design.kind == "search":
        return
    if not searched(space):
        law = f"design {design.kind} has no points, as space searches nothing"
        yield Objection(("space",), f"{law}; search a hyperparameter, or use design search with one trial per seed")
        return
    fraction = design.kind == "factorial" and design.resolution is not None
    yield from (_fraction if fraction else _LAWS[design.kind])(design, space)


def points_in(design: DesignSpec, space: Sequence[Parameter]) -> int | None:
    """Count the points of a design that the space admits, without making them; None for too many or a search."""
    if design.kind == "search":
        return None
    if design.kind == "one_factor":
        most = most_variants(space, design.baseline)
        return most if most > MOST_POINTS else sum(one.refused is None for one in variants(space, design.baseline))
    return count_grid(space) if design.resolution is None else count_runs(design, len(searched(space)))


def _listed(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    for one in space:
        if is_continuous(one.domain):
            law = f"design {design.kind} needs listed values, but space.{one.name} is a continuous range"
            yield Objection(("space", one.name), f"{law}; use choice, int or a step")


def _one_factor(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    faults = (*_listed(design, space), *_baseline_values(design, space))
    yield from faults
    if not faults and most_variants(space, design.baseline) <= MOST_POINTS:
        yield from _completeness(design, space)


def _baseline_values(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    for one in searched(space):
        value = design.baseline.get(one.name)
        if value is None or is_continuous(one.domain) or find_value(one.domain, value) is not None:
            continue
        law = f"design.baseline.{one.name} must be {format_domain(one.domain)}, as in space, got {format_value(value)}"
        yield Objection(("design", "baseline", one.name), law)


def _completeness(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    """Ask for a value of everything that exists in some point; a parameter lacking at the baseline is named once."""
    domains = {one.name: one.domain for one in space}
    first, *others = variants(space, design.baseline)
    if first.lacking:
        wanted = join_words((f"{name} ({format_domain(domains[name])})" for name in first.lacking), "and")
        yield Objection(("design", "baseline"), f"design.baseline must give a value of {wanted}")
        return
    if first.refused:
        yield Objection(("design", "baseline", first.refused), _refused(first, space))
    asked: set[str] = set()
    for one in others:
        for name in one.lacking:
            if name not in asked:
                asked.add(name)
                assert one.changed is not None
                why = f"it exists beside {format_settings({one.changed: one.params[one.changed]})}"
                law = f"design.baseline must give a value of {name} too, as {why}"
                yield Objection(("design", "baseline"), f"{law}; {format_domain(domains[name])}")


def _refused(one: Variant, space: Sequence[Parameter]) -> str:
    name = str(one.refused)
    excluded = next(parameter for parameter in space if parameter.name == name).excluded
    beside = {item.beside.parameter for item in excluded}
    others = format_settings({other: value for other, value in one.params.items() if other in beside})
    law = f"design.baseline.{name}={format_value(one.params[name])} cannot be run beside {others}"
    return f"{law}; choose another baseline"


def _fraction(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    factors = searched(space)
    for one in factors:
        yield from _factor(one)
    assert design.resolution is not None
    if design.resolution > len(factors):
        yield Objection(("design", "resolution"), _too_high(design.resolution, len(factors)))
    elif count_runs(design, len(factors)) is None:
        law = f"design.resolution {design.resolution} takes more than 65536 runs for {len(factors)} factors"
        yield Objection(("design", "resolution"), f"{law}; lower it or search fewer")


def _factor(one: Parameter) -> Iterator[Objection]:
    if levels(one.domain) is None:
        assert isinstance(one.domain, Choice)
        law = f"a fraction takes two values of each factor, but space.{one.name} has {len(one.domain.values)}"
        yield Objection(("space", one.name), f"{law}; keep two, give it as a constant, or remove design.resolution")
    if one.when:
        law = f"a fraction needs every factor in every point, but space.{one.name} has a `when`"
        yield Objection(("space", one.name), f"{law}; remove it, or remove design.resolution to run all combinations")
    for beside in dict.fromkeys(item.beside.parameter for item in one.excluded):
        law = f"a fraction needs every combination to be possible, but space.{one.name} cannot be run beside every"
        yield Objection(("space", one.name), f"{law} {beside}; take the values that cannot out of space")


def _too_high(resolution: int, factors: int) -> str:
    law = f"design.resolution must be <= the number of factors = {factors}, got {resolution}"
    everything = f"remove it to run all combinations of {factors} factors"
    if factors < LEAST_RESOLUTION:
        return f"{law}; {everything}"
    return f"{law}; use {join_words(map(str, range(LEAST_RESOLUTION, factors + 1)))}, or {everything}"


_LAWS: Mapping[str, Callable[[DesignSpec, Sequence[Parameter]], Iterator[Objection]]] = {
    "grid": _listed,
    "factorial": _listed,
    "one_factor": _one_factor,
}
