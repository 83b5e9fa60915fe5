"""Describe a design in Markdown: the points that are run, or the space they are searched in; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from study.design.listed import listed_points
from study.design.notes import notes, trials_in_words
from study.design.wording import written
from study.hyperparameters import Scalar
from study.points import constants, searched
from study.spec import Choice, Constant, Domain, Integer, Parameter, StudySpec, Uniform

MOST_POINTS_SHOWN = 1000


def overview(spec: StudySpec) -> str:
    """Return what is run and why, with a table of the points in their order; a search has its space instead.

    Raises:
        DesignError: the space does not admit the design.
    """
    points = listed_points(spec)
    body = _space(spec) if points is None else _points(spec, points)
    seeds, said = spec.replicates.numbers, notes(spec)
    lines = [
        f"# Design: {spec.design.kind}",
        "",
        f"{trials_in_words(spec)}.",
        *([f"Seeds of every point: {', '.join(map(str, seeds))}."] if len(seeds) > 1 else []),
        *_settings(spec),
        "",
        *(f"- {note}" for note in said),
        *([""] if said else []),
        *body,
        "",
    ]
    return "\n".join(lines)


def _settings(spec: StudySpec) -> Iterator[str]:
    design, search = spec.design, spec.search
    if design.kind == "search":
        yield f"Sampler {search.sampler} from seed {search.seed}, pruner {spec.pruner}."
        return
    if spec.pruner != "none":
        yield f"Pruner {spec.pruner}."
    if design.resolution is not None:
        yield f"A {design.fraction} fraction of resolution {design.resolution}."
    if fixed := constants(spec.space):
        yield f"Fixed: {', '.join(f'{name} = {written(value)}' for name, value in fixed.items())}."


def _points(spec: StudySpec, points: Iterable[dict[str, Scalar]]) -> Iterator[str]:
    names = [one.name for one in searched(spec.space)]
    points = iter(points)
    shown = islice(points, MOST_POINTS_SHOWN)
    yield from _table(names, ([written(one[name]) if name in one else "" for name in names] for one in shown))
    if more := sum(1 for _ in points):
        yield ""
        yield f"{more} more points follow."


def _space(spec: StudySpec) -> Iterator[str]:
    rows = ([one.name, _values(one.domain), _conditions(one)] for one in spec.space)
    return _table(["parameter", "values", "exists where"], rows)


def _values(domain: Domain) -> str:
    match domain:
        case Choice(values=values):
            return ", ".join(map(written, values))
        case Constant(value=value):
            return f"{written(value)} (fixed)"
        case Integer() | Uniform():
            step = f" in steps of {domain.step}" if domain.step not in (None, 1) else ""
            kind = "whole numbers from " if isinstance(domain, Integer) else ""
            return f"{kind}{domain.low} to {domain.high}{step}{', on a log scale' if domain.log else ''}"


def _conditions(parameter: Parameter) -> str:
    return " and ".join(f"{one.parameter} is {' or '.join(map(written, one.values))}" for one in parameter.when)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(headings)
    yield _row(["---"] * len(headings))
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(' '.join(one.split()).replace('|', chr(92) + '|') for one in cells)} |"
