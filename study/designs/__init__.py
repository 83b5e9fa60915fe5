"""Which points of its space a study runs, in which order; pure."""

from study.designs.description import aliases, notes, overview, trials_in_words
from study.designs.points import count_points, distinct_points, listed_points, planned_trials

__all__ = [
    "aliases", "count_points", "distinct_points", "listed_points", "notes", "overview", "planned_trials",
    "trials_in_words",
]  # fmt: skip
