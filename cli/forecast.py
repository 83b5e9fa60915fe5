"""Count the trials of a running study and estimate how many are left, and for how long."""

from __future__ import annotations

from functools import cached_property

from study.design import count_points
from study.records import StopReason, TrialRecord
from study.spec import StudySpec


class Forecast:
    """How many trials there will be, how many ended, and how long the rest takes.

    A point that the pruner stopped has no further replicates: a listed design then has fewer trials than planned,
    while a search uses them for other points.
    """

    def __init__(self, spec: StudySpec, planned: int, slots: int, started_at_s: float = 0.0) -> None:
        self._spec = spec
        self._planned = planned
        self._slots = slots
        self._started_at_s = started_at_s
        self._replicates = len(spec.replicates.numbers)
        self._shrinks = self._replicates > 1 and spec.design.kind != "search"
        self._begun: dict[int, set[int]] = {}
        self._stopped: set[int] = set()
        self._dropped = 0
        self._ended: set[int] = set()
        self._spent_s = 0.0
        self._timed = 0

    @property
    def ended(self) -> int:
        """How many trials ended."""
        return len(self._ended)

    @property
    def planned(self) -> int:
        """How many trials there will be at most."""
        return min(self._planned, self._listed - self._dropped) if self._dropped else self._planned

    @cached_property
    def _listed(self) -> int:
        return (count_points(self._spec) or 0) * self._replicates

    def begin(self, record: TrialRecord) -> None:
        """Take a trial that was placed."""
        begun = self._begun.setdefault(record.point, set())
        if self._shrinks and record.replicate not in begun:
            begun.add(record.replicate)
            self._dropped -= record.point in self._stopped

    def finish(self, record: TrialRecord) -> bool:
        """Take a trial that ended; return whether that was news."""
        if record.trial in self._ended:
            return False
        self.begin(record)
        self._ended.add(record.trial)
        if self._shrinks and record.stop_reason is StopReason.PRUNED and record.point not in self._stopped:
            self._stopped.add(record.point)
            self._dropped += self._replicates - len(self._begun[record.point])
        began, end = record.started_at_s, record.finished_at_s
        if began is not None and end is not None and began >= self._started_at_s > 0:
            self._spent_s += end - began
            self._timed += 1
        return True

    def time_left_s(self) -> float | None:
        """Estimate the time left from the trials that ended since the start, None before the first."""
        if not self._timed:
            return None
        left = self.planned - self.ended
        return max(0.0, left * self._spent_s / self._timed / self._slots)
