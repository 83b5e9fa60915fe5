"""Words and cells that several sections share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from study.metric_catalog import metric_named
from study.records import TrialRecord
from study.report.content import Entry, StudyContent
from study.report.elements import Figure, Table, number
from study.report.interval_plots import IntervalRow
from study.report.svg import Canvas


def figure(key: str, title: str, description: str, canvas: Canvas, table: Table, note: str = "") -> Figure:
    """Return a drawn plot with what is said about it."""
    return Figure(key, title, description, canvas.svg, canvas.width, canvas.height, table, note)


def first_line(error: str | None) -> str:
    """Return the last line of an error, which says what it was."""
    lines = (error or "").strip().splitlines()
    return number(lines[-1][:300]) if lines else "-"


def marker_kind(key: int, leader: int | None, may_be: set[int]) -> str:
    """Return how a plot marks an entry."""
    return "leader" if key == leader else "may be" if key in may_be else "other"


def ranks_of(entry: Entry) -> str:
    """Return the ranks that an entry may have, in words."""
    return "-" if entry.standing is None else rank_words(entry.standing)


def rank_words(standing: object) -> str:
    """Return an interval of ranks in words."""
    low, high = getattr(standing, "rank_low", 0), getattr(standing, "rank_high", 0)
    return str(low) if low == high else f"{low} to {high}"


def rank_cells(entry: Entry) -> tuple[str, str]:
    """Return the ends of the interval of an entry's rank."""
    return ("-", "-") if entry.standing is None else (str(entry.standing.rank_low), str(entry.standing.rank_high))


def describe_rows(rows: Sequence[IntervalRow], what: str) -> str:
    """Return the values of the first rows in words."""
    told = [f"{row.label} {row.value:.4g}" + ("" if row.low is None or row.high is None else
                                              f" ({row.low:.4g} to {row.high:.4g})") for row in rows[:3]]  # fmt: skip
    return f"{what}: {'; '.join(told)}" + (f"; and {len(rows) - 3} more" if len(rows) > 3 else "") + "."


def finite_or_none(value: float) -> float | None:
    """Return a number that can be drawn, or None."""
    return value if math.isfinite(value) else None


def metric_text(name: str, value: float | None) -> str:
    """Write the value of a metric; a number of parameters in full."""
    known = metric_named(name)
    whole = known is not None and name == "parameters" and value is not None
    return f"{value:,.0f}" if whole else number(value)


def holds_text(content: StudyContent, name: str) -> bool:
    """Return whether a parameter has words as values."""
    values = [entry.params[name] for entry in content.entries if name in entry.params]
    return any(isinstance(value, str | bool) for value in values)


def seconds_of(trials: Sequence[TrialRecord]) -> str:
    """Return how long trials took together, in words."""
    spent = [trial.finished_at_s - trial.started_at_s for trial in trials
             if trial.finished_at_s is not None and trial.started_at_s is not None]  # fmt: skip
    return f"{sum(spent):.0f}" if spent else "-"


def duration_text(seconds: float) -> str:
    """Return a time span in words."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
