"""Which points of its space a study runs, in which order; pure."""

from study.designs.description import design_notes, design_overview, trials_in_words
from study.designs.points import TrialPlan, count_points, distinct_points, listed_points, planned_trials

__all__ = [
    "TrialPlan",
    "count_points",
    "design_notes",
    "design_overview",
    "distinct_points",
    "listed_points",
    "planned_trials",
    "trials_in_words",
]  # fmt: skip
