"""Fakes for tests of whatever records a study: a recorder in memory and a scripted study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from study.config.search_config import Objective, SearchSpec
from study.config.search_space import Choice, Parameter, Uniform
from study.config.study_config import StudySpec
from study.events import (
    EpochEvents,
    EpochReported,
    Event,
    Recorder,
    StudyEnded,
    StudyStarted,
    TrialFinished,
    TrialStarted,
)
from study.records import DataSummary, EpochMetrics, StopReason, StudyOutcome, TrialRecord, TrialState

CLOCK_S = 1_700_000_000.0


@dataclass
class MemoryRecorder:
    """A Recorder that keeps what it was given."""

    events: list[Event] = field(default_factory=list)
    caught_up: list[TrialRecord] = field(default_factory=list)
    closed: bool = False

    def record(self, event: Event) -> None:
        assert not self.closed, "record() after close()"
        self.events.append(event)

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> None:
        self.caught_up.extend(records)

    def close(self) -> None:
        self.closed = True


@dataclass
class Script:
    """Tells a study event by event; every event is later than the one before."""

    name: str = "faces"
    study_id: str = "id-1"
    planned: int = 4
    now_s: float = CLOCK_S

    def tick(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def spec(self) -> StudySpec:
        space = (
            Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
            Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
        )
        return StudySpec(
            name=self.name,
            objective=Objective(metric="val_auc", mode="max"),
            space=space,
            search=SearchSpec(trials=self.planned),
        )

    def start(self, *, resumed: bool = False, finished: int = 0) -> StudyStarted:
        data = DataSummary("faces", "f" * 64, 48, ("not_wearing_mask", "wearing_mask"), {"train": 60, "val": 20})
        return StudyStarted(
            self.name, self.study_id, self.spec(), "name: faces\n", data, resumed, finished, 2, "cpu",
            ("imagenet weights are missing: dropped",), self.tick(), self.planned,
        )  # fmt: skip

    def record(self, trial: int, state: TrialState = TrialState.RUNNING) -> TrialRecord:
        params = {"optimizer": "adam" if trial % 2 else "sgd", "learning_rate": 0.001 * (trial + 1)}
        config = {**params, "depth": 18, "momentum": None, "batch_size": 64, "seed": 7, "point": trial, "replicate": 0}
        return TrialRecord(self.name, trial, state, params, config, seed=7, point=trial, started_at_s=self.now_s)

    def begin(self, trial: int, attempt: int = 1) -> TrialStarted:
        return TrialStarted(replace(self.record(trial), attempts=attempt), attempt, self.tick())

    def report(self, trial: int, epoch: int, values: Mapping[str, float] | None = None) -> EpochReported:
        values = values or {"val_auc": 0.5 + 0.01 * trial + 0.1 * epoch, "train_loss": 1.0 / epoch}
        return EpochReported(self.name, trial, EpochMetrics(epoch, values), values["val_auc"], epoch, self.tick())

    def finish(
        self, trial: int, state: TrialState = TrialState.COMPLETE, *, checkpoint: Path | None = None, epochs: int = 2
    ) -> TrialFinished:
        failed = state is TrialState.FAILED
        value = None if failed else 0.5 + 0.01 * trial + 0.1 * epochs
        reasons = {TrialState.COMPLETE: StopReason.FINISHED, TrialState.PRUNED: StopReason.PRUNED}
        record = replace(
            self.record(trial, state),
            stop_reason=reasons.get(state, StopReason.ERROR),
            value=value,
            epoch=None if failed else epochs,
            epochs_run=epochs,
            metrics={} if value is None else {"val_auc": value, "val_loss": 0.25},
            checkpoint=None if checkpoint is None else str(checkpoint),
            error="Traceback: RuntimeError: boom" if failed else None,
            finished_at_s=self.now_s,
        )
        return TrialFinished(record, self.tick())

    def end(self, outcome: StudyOutcome = StudyOutcome.FINISHED, best: TrialRecord | None = None) -> StudyEnded:
        return StudyEnded(self.name, outcome, best, {"COMPLETE": 1}, self.tick())

    def whole(self, checkpoint: Path | None = None) -> Iterator[Event]:
        """Tell a study of four trials: two complete, one pruned, one failed."""
        yield self.start()
        for trial in range(4):
            yield self.begin(trial)
        for epoch in (1, 2):
            for trial in range(4):
                yield self.report(trial, epoch)
        first = self.finish(0, checkpoint=checkpoint)
        yield first
        yield self.finish(1, TrialState.PRUNED)
        yield self.finish(2, TrialState.FAILED)
        yield self.finish(3, checkpoint=checkpoint)
        yield self.end(best=first.record)


def play(recorder: Recorder, events: Iterator[Event] | list[Event]) -> None:
    """Record events and close."""
    for event in events:
        recorder.record(event)
    recorder.close()


def write_checkpoint(folder: Path) -> Path:
    """Write a folder that looks like a trial's checkpoint."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    classes, steps = ["not_wearing_mask", "wearing_mask"], {"image_size_px": 48}
    (folder / "checkpoint.json").write_text(json.dumps({"epoch": 2, "classes": classes, "preprocessing": steps}))
    (folder / "validation.npz").write_bytes(b"scores")
    return folder
