"""Which points of its space a study runs, in which order; pure."""

from study.design.listed import count_points, distinct_points, listed_points, planned_trials
from study.design.notes import aliases, notes, trials_in_words

__all__ = ["aliases", "count_points", "distinct_points", "listed_points", "notes", "planned_trials", "trials_in_words"]
