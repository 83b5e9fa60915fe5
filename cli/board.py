"""Keep what a live view shows: trials, the best so far, the time left; its size does not grow with the trials."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.forecast import Forecast
from cli.output import STATE_STYLES, duration, number
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
from study.records import StopReason, StudyOutcome, TrialRecord, TrialState, is_better
from study.spec import StudySpec

if TYPE_CHECKING:
    from rich.console import RenderableType

RECENT = 8
WHY = {
    StopReason.TIME_BUDGET: "its time budget is used up",
    StopReason.ACCELERATOR_BUDGET: "its accelerator budget is used up",
    StopReason.TARGET: "a trial reached its target",
    StopReason.FAILURES: "too many trials failed",
    StopReason.USER: "stopped by the user",
}


class Board:
    """The state of a running study, told by its events alone."""

    def __init__(self, spec: StudySpec, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.name = spec.name
        self._spec = spec
        self._started_at_s = 0.0
        self._ended_at_s: float | None = None
        self._forecast = Forecast(spec, 0, 1)
        self._running: dict[int, tuple[TrialRecord, EpochReported | None]] = {}
        self._recent: deque[TrialRecord] = deque(maxlen=RECENT)
        self._best_ended: tuple[float, int] | None = None

    def take(self, event: Event) -> str | None:
        """Note one event; return a line about it if it is worth one."""
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
            epochs = f"{epoch}/{self._most(record)}"
            table.add_row(*self._numbers(record), "[cyan]RUNNING[/]", epochs, number(best), Text(_params(record)))
        for record in reversed(list(self._recent)):
            state = f"[{STATE_STYLES[record.state.value]}]{record.state.value}[/]"
            epochs = f"{record.epochs_run}/{self._most(record)}"
            table.add_row(*self._numbers(record), state, epochs, number(record.value), Text(_params(record)))
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

    def _most(self, record: TrialRecord) -> object:
        """Return how many epochs a trial may have; that may be searched."""
        return record.config.get("max_epochs", self._spec.trial.max_epochs)

    def headline(self) -> str:
        """Return one line of state: how many trials, the best so far, time gone and left."""
        found = self._best()
        best = "none yet" if found is None else f"{number(found[0], 5)} (trial {found[1]})"
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
            f"trial {event.trial}{self._replicate(record)} epoch {event.metrics.epoch}/{self._most(record)} "
            f"{metric} {number(event.metrics.values[metric])} (its best {number(event.best_value)})"
        )

    def _finish(self, record: TrialRecord) -> str:
        self._running.pop(record.trial, None)
        if self._forecast.finish(record):
            self._recent.append(replace(record, history=()))
            if record.checkpoint is not None:
                self._best_ended = self._better(self._best_ended, record.value, record.trial)
        value = f"{self._spec.objective.metric} {number(record.value)} at epoch {record.epoch}" if record.epoch else ""
        why = record.error if record.state is TrialState.FAILED else value
        return f"trial {record.trial}{self._replicate(record)} {record.state.value}: {why}"

    def _best(self) -> tuple[float, int] | None:
        """Return value and trial of the best so far: of trials that ended with a checkpoint or still run."""
        best = self._best_ended
        for _, report in list(self._running.values()):
            if report is not None:
                best = self._better(best, report.best_value, report.trial)
        return best

    def _better(self, best: tuple[float, int] | None, value: float | None, trial: int) -> tuple[float, int] | None:
        if value is None or not is_better(value, None if best is None else best[0], self._spec.objective.mode):
            return best
        return value, trial

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


def _params(record: TrialRecord) -> str:
    return " ".join(f"{key}={number(value)}" for key, value in record.params.items())
