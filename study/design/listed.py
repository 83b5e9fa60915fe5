"""List the points of a design and count the trials they make; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from study.hyperparameters import Scalar
from study.points import grid_points
from study.spec import StudySpec
from study.steering import MOST_POINTS


def listed_points(spec: StudySpec) -> Iterator[dict[str, Scalar]] | None:
    """Return every point of a design once, as searched values without constants; None for a search.

    Raises:
        ValueError: the space does not admit the design.
    """
    if spec.design.kind == "search":
        return None
    return grid_points(spec.space)


def count_points(spec: StudySpec, most: int = MOST_POINTS) -> int | None:
    """Count the points of a design, ``most + 1`` where there are more; None for a search.

    Raises:
        ValueError: the space does not admit the design.
    """
    points = listed_points(spec)
    return None if points is None else sum(1 for _ in islice(points, most + 1))


def planned_trials(spec: StudySpec) -> int:
    """Return how many trials a study has at most, every replicate counted.

    Raises:
        ValueError: the space does not admit the design.
    """
    points = count_points(spec)
    trials = spec.search.trials if points is None else points * len(spec.replicates.numbers)
    return min(trials, spec.budget.trials or trials)
