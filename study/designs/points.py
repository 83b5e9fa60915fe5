"""List the points of a design and count the trials they make; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from study.config.hyperparameters import Scalar
from study.config.search_config import MOST_POINTS
from study.config.study_config import StudySpec
from study.designs.fractional_factorial import fraction_points
from study.designs.grid import count_grid, grid_points
from study.designs.one_factor import variants
from study.designs.validation import form_objections, points_in, space_objections
from study.errors import DesignError


def listed_points(spec: StudySpec) -> Iterator[dict[str, Scalar]] | None:
    """Return every point of a design once, as searched values without constants; None for a search.

    Raises:
        DesignError: the space does not admit the design.
    """
    design, space = spec.design, spec.space
    if design.kind == "search":
        return None
    _require_admitted(spec)
    if design.kind == "one_factor":
        return (dict(one.params) for one in variants(space, design.baseline) if one.refused is None)
    return grid_points(space) if design.resolution is None else iter(fraction_points(design, space))


def count_points(spec: StudySpec, most: int = MOST_POINTS) -> int | None:
    """Count the points of a design without making them, ``most + 1`` where there are more; None for a search.

    Raises:
        DesignError: the space does not admit the design.
    """
    if spec.design.kind == "search":
        return None
    _require_admitted(spec)
    found = points_in(spec.design, spec.space)
    return most + 1 if found is None else min(found, most + 1)


def distinct_points(spec: StudySpec) -> int | None:
    """Count the points there are to choose from, None where a range is continuous."""
    return count_grid(spec.space) if spec.design.kind == "search" else count_points(spec)


def planned_trials(spec: StudySpec) -> int:
    """Return how many trials a study has at most, every replicate counted and no point run twice.

    Raises:
        DesignError: the space does not admit the design.
    """
    points, asked = distinct_points(spec), spec.search.trials if spec.design.kind == "search" else None
    if points == 0:
        raise DesignError("the space has no point that can be run, as all are excluded; search other values")
    limits = (asked, spec.budget.trials, None if points is None else points * len(spec.replicates.numbers))
    return min(one for one in limits if one is not None)


def _require_admitted(spec: StudySpec) -> None:
    for one in (*form_objections(spec.design), *space_objections(spec.design, spec.space)):
        raise DesignError(one.message)
