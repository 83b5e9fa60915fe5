"""Which points of its space a study runs, in which order; pure."""

from study.design.listed import count_points, listed_points, planned_trials

__all__ = ["count_points", "listed_points", "planned_trials"]
