"""What a design runs, in words: the number of trials, what to know beforehand, and a table of its points; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from study.config.hyperparameters import Scalar
from study.config.search_space import Choice, Constant, Domain, Integer, Uniform
from study.config.study_config import StudySpec
from study.designs.formatting import format_conditions
from study.designs.points import DESIGNS, distinct_points, listed_points, planned_trials
from study.designs.space import constants, searched
from study.utils.text import show_bare


def design_notes(spec: StudySpec) -> tuple[str, ...]:
    """Return what to know of a design before it is run, one sentence each.

    Raises:
        DesignError: the space does not admit the design.
    """
    design = DESIGNS.get(spec.design.kind)
    return (*(design.notes(spec.design, spec.space) if design else ()), *_few_points(spec), *_incomplete(spec))


def trials_in_words(spec: StudySpec) -> str:
    """Describe how many trials are planned and why, such as ``15 trials (5 points x 3 seeds)``.

    Raises:
        DesignError: the space does not admit the design.
    """
    planned, points, seeds = planned_trials(spec), distinct_points(spec), len(spec.replicates.numbers)
    each = f" x {seeds} seeds" if seeds > 1 else ""
    if spec.design.kind == "search":
        whole, few = spec.search.trials, points is not None and planned == points * seeds
    else:
        whole, few = (points or 0) * seeds, True
    text = f"{planned} trial{'s' * (planned > 1)}" if planned == whole else f"{planned} of {whole} trials"
    if few:
        return f"{text} ({points} point{'s' * (points != 1)}{each})"
    return f"{text} ({seeds} seeds a point)" if each else text


def _few_points(spec: StudySpec) -> Iterator[str]:
    points, seeds = distinct_points(spec), len(spec.replicates.numbers)
    asked = min(spec.search.trials, spec.budget.trials or spec.search.trials)
    if spec.design.kind != "search" or points is None or points * seeds >= asked:
        return
    each = f" x {seeds} seeds" if seeds > 1 else ""
    rule = f"the space has {points} point{'s' * (points > 1)}{each}, and none is run twice"
    yield f"{rule}: at most {points * seeds} of {asked} trials are run"


def _incomplete(spec: StudySpec) -> Iterator[str]:
    """Yield where the trials end amid the seeds; a search runs point by point, other designs seed by seed."""
    planned, seeds = planned_trials(spec), spec.replicates.numbers
    if spec.design.kind == "search":
        if planned % len(seeds):
            rule = f"the last point is run with {planned % len(seeds)} of {len(seeds)} seeds"
            yield f"{rule}, as {planned} trials are no multiple of {len(seeds)}"
        return
    points = distinct_points(spec) or 0
    if planned == points * len(seeds):
        return
    whole, rest = divmod(planned, points)
    yield f"budget.trials cuts {points * len(seeds)} trials to {planned}"
    if rest:
        yield f"seed {show_bare(seeds[whole])} is run for the first {rest} of {points} points"


MOST_POINTS_SHOWN = 1000


def design_overview(spec: StudySpec) -> str:
    """Return what is run and why, with a table of the points in their order; a search has its space instead.

    Raises:
        DesignError: the space does not admit the design.
    """
    points = listed_points(spec)
    body = _space(spec) if points is None else _points(spec, points)
    seeds, said = spec.replicates.numbers, design_notes(spec)
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
        yield f"Fixed: {', '.join(f'{name} = {show_bare(value)}' for name, value in fixed.items())}."


def _points(spec: StudySpec, points: Iterable[dict[str, Scalar]]) -> Iterator[str]:
    names = [parameter.name for parameter in searched(spec.space)]
    points = iter(points)
    shown = islice(points, MOST_POINTS_SHOWN)
    yield from _table(names, ([show_bare(point[name]) if name in point else "" for name in names] for point in shown))
    if more := sum(1 for _ in points):
        yield ""
        yield f"{more} more points follow."


def _space(spec: StudySpec) -> Iterator[str]:
    rows = ([parameter.name, _values(parameter.domain), format_conditions(parameter.when)] for parameter in spec.space)
    return _table(["parameter", "values", "exists where"], rows)


def _values(domain: Domain) -> str:
    match domain:
        case Choice(values=values):
            return ", ".join(map(show_bare, values))
        case Constant(value=value):
            return f"{show_bare(value)} (fixed)"
        case Integer() | Uniform():
            step = f" in steps of {domain.step}" if domain.step not in (None, 1) else ""
            kind = "whole numbers from " if isinstance(domain, Integer) else ""
            return f"{kind}{domain.low} to {domain.high}{step}{', on a log scale' if domain.log else ''}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(headings)
    yield _row(["---"] * len(headings))
    yield from map(_row, rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
