"""The design that lists its points one by one; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from study.config.hyperparameters import Scalar
from study.config.search_config import DesignSpec
from study.config.search_space import Domain, Parameter, Uniform, same_value
from study.designs.design import Design, Objection, Point
from study.designs.formatting import format_domain
from study.designs.space import constants, excluded_values, find_value, is_active, is_continuous, searched
from study.utils.text import show_bare


class PointList(Design):
    """The points that the study file lists, in its order."""

    fields = ("points",)

    def form_objections(self, design: DesignSpec) -> Iterator[Objection]:
        """Object to a design without points."""
        if not design.points:
            rule = "design points must list at least one point, got none"
            yield Objection(("design", "kind"), f"{rule}; write points: [{{optimizer: sgd}}]")

    def objections(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
        """Object to values that the space lacks, to parameters that are missing or too many, and to repetition."""
        faults = [fault for k, point in enumerate(design.points) for fault in _point_objections(k, point, space)]
        yield from faults
        if not faults:
            yield from _repeated(design, space)

    def points(self, design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Point]:
        """Return the points that can be run."""
        return (point for given in design.points if (point := _admitted(given, space)) is not None)

    def count(self, design: DesignSpec, space: Sequence[Parameter]) -> int | None:
        """Count the points that can be run."""
        return sum(1 for _ in self.points(design, space))


def value_in(domain: Domain, value: object) -> Scalar | None:
    """Return a value as its domain writes it, None where the domain lacks it."""
    if not is_continuous(domain):
        return find_value(domain, value)
    assert isinstance(domain, Uniform)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and domain.low <= value <= domain.high else None  # type: ignore[operator, arg-type]


def _admitted(given: Mapping[str, Scalar], space: Sequence[Parameter]) -> Point | None:
    """Return a point in the order of the space, None if one of its values cannot be run beside the others."""
    known, point = constants(space), Point()
    for parameter in searched(space):
        if not is_active(parameter, known):
            continue
        value = value_in(parameter.domain, given.get(parameter.name))
        if value is None or any(same_value(value, excluded) for excluded in excluded_values(parameter, known)):
            return None
        point[parameter.name] = known[parameter.name] = value
    return point


def _point_objections(k: int, given: Mapping[str, Scalar], space: Sequence[Parameter]) -> Iterator[Objection]:
    known, title = constants(space), f"design.points[{k}]"
    active = set()
    for parameter in searched(space):
        name = parameter.name
        if not is_active(parameter, known):
            continue
        active.add(name)
        if name not in given:
            yield Objection(("design", "points", k), f"{title} must have a value of {name}, as space searches it")
            continue
        value = value_in(parameter.domain, given[name])
        if value is None:
            rule = f"{title}.{name} must be {_values(parameter.domain)}, as in space, got {show_bare(given[name])}"
            yield Objection(("design", "points", k, name), rule)
        known[name] = given[name] if value is None else value
    for name in given:
        if name not in active:
            rule = f"{title}.{name} is not searched beside the other values of the point"
            yield Objection(("design", "points", k, name), f"{rule}; remove it")


def _values(domain: Domain) -> str:
    if isinstance(domain, Uniform) and is_continuous(domain):
        return f"a number from {domain.low:g} to {domain.high:g}"
    return format_domain(domain)


def _repeated(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    first: dict[tuple[tuple[str, bool, Scalar], ...], int] = {}
    for k, given in enumerate(design.points):
        point = _admitted(given, space)
        if point is None:
            continue
        key = tuple((name, isinstance(value, bool), value) for name, value in point.items())
        if key in first:
            rule = f"design.points must not repeat a point, but [{k}] is the same as [{first[key]}]"
            yield Objection(("design", "points", k), f"{rule}; remove one")
        first.setdefault(key, k)
