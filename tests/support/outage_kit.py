"""Take a real MLflow server away from a study that records to it, and bring it back."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from recorders import Script
from tracking_backends import until

from study.events import Event
from study.paths import Layout
from tracking.client.client import TrackingClient
from tracking.exporter.recorder import OutboxRecorder
from tracking.outbox.outbox import read_lines
from tracking.ui.server import UiServer, serve

Absence = Literal["gone", "hanging"]
PATIENCE_S = 600.0


class Server:
    """A server that can go away: ``gone`` ends it and its database comes back later, ``hanging`` answers nobody."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = self._serve(0)
        self.address = self._running.address

    def leave(self, how: Absence) -> None:
        if how == "gone":
            self._running.stop()
        else:
            os.killpg(self._running.process.pid, signal.SIGSTOP)

    def come_back(self, how: Absence) -> None:
        if how == "gone":
            self._running = self._serve(int(self.address.rpartition(":")[2]))
        else:
            os.killpg(self._running.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        self._running.stop()

    def _serve(self, port: int) -> UiServer:
        return serve(f"sqlite:///{self._folder / 'mlflow.db'}", self._folder / "artifacts", port=port)


@dataclass
class Story:
    """A study's events in order, one trial after another, each of some epochs; and what recording each one took."""

    recorder: OutboxRecorder
    script: Script
    epochs: int

    def start(self) -> list[float]:
        """Begin the study; return what each call took, in seconds."""
        return [self._record(self.script.start())]

    def trial(self, number: int) -> Iterator[float]:
        """Tell one trial, event by event; yield what each call took."""
        yield self._record(self.script.begin(number))
        for epoch in range(1, self.epochs + 1):
            yield self._record(self.script.report(number, epoch))
        yield self._record(self.script.finish(number, epochs=self.epochs))

    def end(self) -> None:
        """End the study."""
        self._record(self.script.end())
        self.recorder.close()

    def _record(self, event: Event) -> float:
        began = time.perf_counter()
        self.recorder.record(event)
        return time.perf_counter() - began


def endure(
    results: Path,
    server: Server,
    how: Absence,
    is_long_enough: Callable[[OutboxRecorder], bool],
    *,
    pause_s: float = 0.0,
    calm_trials: int = 2,
) -> dict[str, Any]:
    """Record while the server is away, until that was long enough; check that it then has everything.

    Args:
        results: an empty folder.
        server: it runs.
        how: the way in which it is away.
        is_long_enough: asked after every trial while the server is away.
        pause_s: the time between two events.
        calm_trials: how many there are before it goes away.

    Returns:
        Figures: number of events and trials, median and longest time of a call while the server was there and while
        it was away, in milliseconds, and the time until it had caught up, in seconds.
    """
    layout = Layout(results)
    study = layout.study("faces")
    story = Story(OutboxRecorder(study, server.address), Script(), 4)
    calm_s, away_s, trials = story.start(), [], 0
    while trials < calm_trials:
        calm_s += _paced(story.trial(trials), pause_s)
        trials += 1
    until(lambda: not story.recorder._reader.pending(), PATIENCE_S)
    server.leave(how)
    began, known = time.monotonic(), trials
    while trials < known + 2 or not is_long_enough(story.recorder):
        away_s += _paced(story.trial(trials), pause_s)
        trials += 1
    lasted_s = time.monotonic() - began
    server.come_back(how)
    back = time.monotonic()
    until(lambda: not story.recorder._reader.pending(), PATIENCE_S)
    caught_up_s = time.monotonic() - back
    story.end()
    events = len(list(read_lines(study.outbox)))
    check_everything_arrived(server.address, trials, story.epochs)
    return {
        "how": how,
        "away_s": round(lasted_s, 1),
        "trials": trials,
        "events": events,
        "call_ms_with_server": _summary(calm_s),
        "call_ms_without": _summary(away_s),
        "caught_up_after_s": round(caught_up_s, 1),
    }


def _paced(calls_s: Iterator[float], pause_s: float) -> Iterator[float]:
    for spent_s in calls_s:
        yield spent_s
        time.sleep(pause_s)


def check_everything_arrived(address: str, trials: int, epochs: int) -> None:
    """Check that the server has each trial once, ended, with each epoch once."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)  # brief for a server that hangs
        _check_runs(TrackingClient(address), mlflow.MlflowClient(address), trials, epochs)


def _check_runs(client: TrackingClient, api: Any, trials: int, epochs: int) -> None:
    experiment = client.find_experiment("faces")
    assert experiment is not None
    runs = list(client.search([experiment.id], ""))
    keys = sorted(run.tags["study.key"] for run in runs)
    assert len(set(keys)) == len(keys) == trials + 1
    assert {run.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run.tags["study.kind"] == "trial":
            steps = [point.step for point in api.get_metric_history(run.id, "train_loss")]
            assert sorted(steps) == list(range(1, epochs + 1)), run.name


def _summary(spent_s: list[float]) -> dict[str, float]:
    return {"median": round(1000 * statistics.median(spent_s), 2), "longest": round(1000 * max(spent_s), 2)}
