"""Which points of its space a study runs, in which order; pure."""

from study.design.listed import count_points, distinct_points, listed_points, planned_trials
from study.design.notes import aliases, notes, trials_in_words
from study.design.overview import overview

__all__ = [
    "aliases", "count_points", "distinct_points", "listed_points", "notes", "overview", "planned_trials",
    "trials_in_words",
]  # fmt: skip
