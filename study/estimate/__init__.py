"""Say what a study would cost before it runs: trials, time, disk."""

from study.estimate.planning import Plan, plan_study

__all__ = ["Plan", "plan_study"]
