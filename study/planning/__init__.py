"""Estimate what a study needs before it runs: trials, time, disk."""

from study.planning.plan import Plan, plan_study

__all__ = ["Plan", "plan_study"]
