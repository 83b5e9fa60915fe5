"""List the points of a design and count the trials they make; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.config.search_config import MOST_POINTS, DesignKind, DesignSpec
from study.config.search_space import Parameter
from study.config.study_config import StudySpec
from study.designs.design import Design, Objection, Point
from study.designs.factorial import Factorial
from study.designs.grid import Grid, count_grid
from study.designs.one_factor import OneFactor
from study.designs.point_list import PointList
from study.designs.space import searched
from study.errors import DesignError

DESIGNS: Mapping[DesignKind, Design] = {
    "grid": Grid(), "one_factor": OneFactor(), "factorial": Factorial(), "points": PointList(),
}  # fmt: skip
"""Every design that lists its points; with ``search`` a sampler chooses them."""


def form_objections(design: DesignSpec) -> Iterator[Objection]:
    """Yield what the `design` section has wrong, whatever the space."""
    for kind, other in DESIGNS.items():
        for field in other.fields if kind != design.kind else ():
            default = DesignSpec.model_fields[field].get_default(call_default_factory=True)
            if getattr(design, field) != default:
                rule = f"design.{field} belongs to design {kind}, but design.kind is {design.kind}"
                yield Objection(("design", field), f"{rule}; remove it or set kind: {kind}")
    if design.kind != "search":
        yield from DESIGNS[design.kind].form_objections(design)


def space_objections(design: DesignSpec, space: Sequence[Parameter]) -> Iterator[Objection]:
    """Yield why a space, ordered so that parents come before children, does not admit a design of sound form."""
    if design.kind == "search":
        return
    if searched(space):
        yield from DESIGNS[design.kind].objections(design, space)
    else:
        rule = f"design {design.kind} has no points, as space searches nothing"
        yield Objection(("space",), f"{rule}; search a hyperparameter, or use design search with one trial per seed")


def points_in(design: DesignSpec, space: Sequence[Parameter]) -> int | None:
    """Count the points of a design that the space admits, without making them; None for too many or a search."""
    return None if design.kind == "search" else DESIGNS[design.kind].count(design, space)


def listed_points(spec: StudySpec) -> Iterator[Point] | None:
    """Return every point of a design once; None for a search.

    Raises:
        DesignError: the space does not admit the design.
    """
    if spec.design.kind == "search":
        return None
    _require_admitted(spec)
    return DESIGNS[spec.design.kind].points(spec.design, spec.space)


def count_points(spec: StudySpec, most: int = MOST_POINTS) -> int | None:
    """Count the points of a design without making them, ``most + 1`` where there are more; None for a search.

    Raises:
        DesignError: the space does not admit the design.
    """
    if spec.design.kind == "search":
        return None
    _require_admitted(spec)
    count = points_in(spec.design, spec.space)
    return most + 1 if count is None else min(count, most + 1)


def distinct_points(spec: StudySpec) -> int | None:
    """Count the points there are to choose from, None where a range is continuous."""
    return count_grid(spec.space) if spec.design.kind == "search" else count_points(spec)


@dataclass(frozen=True)
class TrialPlan:
    """How many trials a study has at most: every replicate counted, no point run twice.

    ``points`` are those there are to choose from, None where a range is continuous.
    """

    spec: StudySpec
    points: int | None

    @classmethod
    def of(cls, spec: StudySpec) -> TrialPlan:
        """Count the points of a study.

        Raises:
            DesignError: the space does not admit the design, or every point is excluded.
        """
        points = distinct_points(spec)
        if points == 0:
            raise DesignError("the space has no point that can be run, as all are excluded; search other values")
        return cls(spec, points)

    def planned(self, *, dropped: int = 0, reachable: int | None = None) -> int:
        """Return how many trials there will be at most, as far as is known by now.

        Args:
            dropped: replicates that are never begun because their points are settled; a search runs other points
                instead, a listed design has fewer trials.
            reachable: trials of all points that a search can still run, begun or not, once its space is exhausted;
                None before.
        """
        is_search, replicates = self.spec.design.kind == "search", len(self.spec.replicates.numbers)
        limits = (
            self.spec.budget.trials,
            self.spec.search.trials if is_search else None,
            reachable if is_search else None,
            None if self.points is None else self.points * replicates - (0 if is_search else dropped),
        )
        return min(limit for limit in limits if limit is not None)


def planned_trials(spec: StudySpec) -> int:
    """Return how many trials a study has at most before any has run.

    Raises:
        DesignError: as in ``TrialPlan.of``.
    """
    return TrialPlan.of(spec).planned()


def _require_admitted(spec: StudySpec) -> None:
    for objection in (*form_objections(spec.design), *space_objections(spec.design, spec.space)):
        raise DesignError(objection.message)
