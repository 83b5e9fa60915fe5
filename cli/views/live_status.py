"""The state of a running study as a live view shows it; its size does not grow with the trials."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from cli.output import STATE_STYLES, duration, number
from study.analysis.ranking import better_trial
from study.best_epoch import is_better
from study.config.study_config import StudySpec
from study.designs import TrialPlan
from study.events import (
    EpochReported,
    Event,
    FinalLookTaken,
    PicturesDrawn,
    StudyEnded,
    StudyStarted,
    TrialFinished,
    TrialStarted,
)
from study.records import StopReason, StudyOutcome, TrialRecord, TrialState
from study.utils.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


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
        return min(self._planned, self._plan.planned(dropped=self._dropped)) if self._dropped else self._planned

    @cached_property
    def _plan(self) -> TrialPlan:
        return TrialPlan.of(self._spec)

    def begin(self, record: TrialRecord) -> None:
        """Count a trial that began."""
        begun = self._begun.setdefault(record.point, set())
        if self._shrinks and record.replicate not in begun:
            begun.add(record.replicate)
            self._dropped -= record.point in self._stopped

    def finish(self, record: TrialRecord) -> bool:
        """Count a trial that ended; return whether it had not been counted yet."""
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


RECENT = 8
WHY = {
    StopReason.TIME_BUDGET: "its time budget is used up",
    StopReason.ACCELERATOR_BUDGET: "its accelerator budget is used up",
    StopReason.TARGET: "a trial reached its target",
    StopReason.FAILURES: "too many trials failed",
    StopReason.USER: "stopped by the user",
}


class LiveStatus:
    """The state of a running study, known from its events alone."""

    def __init__(self, spec: StudySpec, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.name = spec.name
        self._spec = spec
        self._started_at_s = 0.0
        self._ended_at_s: float | None = None
        self._forecast = Forecast(spec, 0, 1)
        self._running: dict[int, tuple[TrialRecord, EpochReported | None]] = {}
        self._recent: deque[TrialRecord] = deque(maxlen=RECENT)
        self._best_ended: TrialRecord | None = None

    def take(self, event: Event) -> str | None:
        """Apply one event; return a line about it if it is worth printing."""
        match event:
            case StudyStarted():
                return self._begin(event)
            case TrialStarted(record=record):
                self._running[record.trial] = (record, None)
                self._forecast.begin(record)
                again = f", attempt {event.attempt}" if event.attempt > 1 else ""
                return f"trial {record.trial}{self._replicate(record)} runs{again}: {_params(record)}"
            case EpochReported():
                return self._report(event)
            case TrialFinished(record=record):
                return self._finish(record)
            case PicturesDrawn() | FinalLookTaken():
                return None
            case StudyEnded():
                return self._end(event)

    def time_left_s(self) -> float | None:
        """Estimate the time left from the trials that ended, None before the first."""
        return self._forecast.time_left_s()

    def table(self) -> RenderableType:
        """Return what a terminal shows: one line of state, the running trials, the last that ended."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        whose = ["point", "seed"] if self._has_replicates else []
        for column in ("trial", *whose, "state", "epoch", self._spec.objective.metric, "params"):
            table.add_column(Text(column), no_wrap=True, overflow="ellipsis")
        for record, report in list(self._running.values()):
            epoch = report.metrics.epoch if report else record.epochs_run
            best = report.best_value if report else record.value
            epochs = f"{epoch}/{self._max_epochs(record)}"
            table.add_row(*self._numbers(record), _state("RUNNING"), epochs, number(best), Text(_params(record)))
        for record in reversed(list(self._recent)):
            epochs = f"{record.epochs_run}/{self._max_epochs(record)}"
            table.add_row(
                *self._numbers(record), _state(record.state.value), epochs, number(record.value), Text(_params(record))
            )
        return Group(Text(self.headline(), style="bold"), table)

    @property
    def _has_replicates(self) -> bool:
        return len(self._spec.replicates.numbers) > 1

    def _numbers(self, record: TrialRecord) -> list[str]:
        """Return a trial's number, with replicates its point and seed too."""
        return [str(record.trial), *([str(record.point), str(self._seed(record))] if self._has_replicates else [])]

    def _replicate(self, record: TrialRecord) -> str:
        return f" (point {record.point}, seed {self._seed(record)})" if self._has_replicates else ""

    def _seed(self, record: TrialRecord) -> int:
        return self._spec.replicates.numbers[record.replicate]

    def _max_epochs(self, record: TrialRecord) -> object:
        """Return how many epochs a trial may have; that may be searched."""
        return record.config.get("max_epochs", self._spec.trial.max_epochs)

    def headline(self) -> str:
        """Return one line of state: how many trials, the best so far, time gone and left."""
        leader = self._best()
        best = "none yet" if leader is None else f"{number(leader[0], 5)} (trial {leader[1]})"
        if not self._started_at_s:
            return f"{self.name}: preparing"
        if not self._running and not self._forecast.ended:
            return f"{self.name}: workers are starting; {duration(self._gone_s())} gone"
        return (
            f"{self.name}: {self._forecast.ended} of {self._forecast.planned} trials ended, "
            f"{len(self._running)} running; best {self._spec.objective.metric} {best}; "
            f"{duration(self._gone_s())} gone{self._left()}"
        )

    def _left(self) -> str:
        left = self.time_left_s()
        return "" if left is None or self._ended_at_s else f", about {duration(left)} left"

    def _gone_s(self) -> float:
        return (self._ended_at_s or self._clock()) - self._started_at_s

    def _begin(self, event: StudyStarted) -> str:
        self._started_at_s, self._spec = event.at_s, event.spec
        self._forecast = Forecast(event.spec, event.planned, event.slots, event.at_s)
        sizes = ", ".join(f"{name} {count}" for name, count in event.data.sizes.items())
        planned = event.planned
        verb = f"goes on after {event.finished} ended trials" if event.resumed else "starts"
        return (
            f"{self.name} {verb}: {planned} trial{'s' * (planned > 1)}, {event.slots} at once on {event.device}; "
            f"data {event.data.source} at {event.data.image_size_px} px ({sizes})"
        )

    def _report(self, event: EpochReported) -> str:
        record = self._running[event.trial][0]
        self._running[event.trial] = (record, event)
        metric = self._spec.objective.metric
        return (
            f"trial {event.trial}{self._replicate(record)} epoch {event.metrics.epoch}/{self._max_epochs(record)} "
            f"{metric} {number(event.metrics.values[metric])} (its best {number(event.best_value)})"
        )

    def _finish(self, record: TrialRecord) -> str:
        self._running.pop(record.trial, None)
        if self._forecast.finish(record):
            kept = replace(record, history=())
            self._recent.append(kept)
            self._best_ended = better_trial(self._best_ended, kept, self._spec.objective)
        value = f"{self._spec.objective.metric} {number(record.value)} at epoch {record.epoch}" if record.epoch else ""
        why = record.error if record.state is TrialState.FAILED else value
        return f"trial {record.trial}{self._replicate(record)} {record.state.value}: {why}"

    def _best(self) -> tuple[float, int] | None:
        """Return value and trial of the best so far: of trials that ended with a checkpoint or still run."""
        ended, objective = self._best_ended, self._spec.objective
        best = None if ended is None else (ended.metrics[objective.metric], ended.trial)
        for _, report in list(self._running.values()):
            if report and is_better(report.best_value, None if best is None else best[0], objective.mode):
                best = report.best_value, report.trial
        return best

    def _end(self, event: StudyEnded) -> str:
        self._ended_at_s = event.at_s
        words = {"RUNNING": "to resume"}
        counts = ", ".join(f"{count} {words.get(state, state)}" for state, count in sorted(event.counts.items()))
        best = (
            ""
            if event.best is None
            else f"; best {self._spec.objective.metric} {number(event.best.value, 5)} by trial {event.best.trial}"
        )
        why = "" if event.reason is None else WHY.get(event.reason, event.reason.value)
        ended = why if event.outcome is StudyOutcome.STOPPED and why else event.outcome.value
        aside = f" ({why})" if why and ended != why else ""
        spent = duration(event.at_s - self._started_at_s)
        return f"{self.name} {ended} after {spent}{aside}: {counts}{best}"


def _state(state: str) -> Text:
    from rich.text import Text  # markup would not be read while a line is printed above the table

    return Text(state, style=STATE_STYLES[state])


def _params(record: TrialRecord) -> str:
    return printable(" ".join(f"{key}={number(value)}" for key, value in record.params.items()))
