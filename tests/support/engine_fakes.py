"""A study without Ray: simulated workers, a listener that remembers, and kills at any write."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import BudgetSpec, Objective, PrunerName, ReplicatesSpec, SamplerName, SearchSpec
from study.config.search_space import Choice, Condition, Parameter, Uniform
from study.config.study_config import StudySpec
from study.engine.trial_controller import TrialController
from study.engine.trial_result import TrialResult
from study.events import EpochEvents, EpochReported, Event, StudyEnded, StudyStarted, TrialFinished
from study.paths import StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, TrialRecord
from study.storage.journal import JournalBackend
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage
from study.trials.serialization import Assignment

DATA = DataSummary("faces", "f" * 64, 32, ("no", "yes"), {"train": 60, "val": 20})
SPACE = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
    Parameter(
        name="momentum",
        domain=Uniform(low=0.0, high=0.99),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
)


E = TypeVar("E")


class Killed(BaseException):
    """SIGKILL, as near as one process can have it."""


def make_spec(
    trials: int = 4,
    *,
    epochs: int = 3,
    sampler: SamplerName = "random",
    pruner: PrunerName = "asha",
    seed: int = 3,
    replicates: int = 1,
    space: tuple[Parameter, ...] = SPACE,
    **fields: Any,
) -> StudySpec:
    return StudySpec(
        name="crash",
        objective=Objective(metric="val_auc", mode="max"),
        trial=Hyperparameters(max_epochs=epochs),
        space=space,
        search=SearchSpec(sampler=sampler, pruner=pruner, min_epochs=1, trials=trials, seed=seed),
        replicates=ReplicatesSpec(count=replicates),
        **fields,
    )


def limited(
    trials: int = 4,
    *,
    epochs: int = 9,
    replicates: int = 1,
    sampler: SamplerName = "random",
    pruner: PrunerName = "none",
    **budget: object,
) -> StudySpec:
    """Return a study with a budget."""
    spec = make_spec(trials=trials, epochs=epochs, sampler=sampler, pruner=pruner, replicates=replicates)
    return spec.model_copy(update={"budget": BudgetSpec.model_validate(budget)})


def take(controller: TrialController) -> int:
    """Hand out the next trial and start it."""
    assignment = controller.next_assignment()
    assert assignment is not None
    controller.on_trial_started(assignment.trial)
    return assignment.trial


def make_storage(root: Path, spec: StudySpec | None = None) -> tuple[StudyStorage, StudyLayout]:
    layout = StudyLayout(root)
    root.mkdir(parents=True, exist_ok=True)
    return StudyStorage.create(layout, spec or make_spec(), "name: crash\n", data=DATA), layout


def reopened(layout: StudyLayout) -> StudyStorage:
    """Open a study as the next driver does."""
    with driver_lock(layout):
        return StudyStorage.open(layout)


def metrics(epoch: int, value: float) -> EpochMetrics:
    return EpochMetrics(epoch, {"val_auc": value, "train_loss": 1.0 / epoch})


def learning_curve(config: TrialConfig, epoch: int) -> float:
    """Give a value that depends on the configuration and the epoch alone, and not always rises."""
    return 0.5 + 0.4 * math.sin(1e4 * config.learning_rate + 2.0 * epoch) * epoch / (epoch + 1)


class CatchingUp:
    """What two Recorders share: after a crash they take the events that they do not have."""

    def record(self, event: Event) -> None:
        raise NotImplementedError

    def of(self, kind: type[E]) -> list[E]:
        raise NotImplementedError

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents) -> None:
        known = {event.record.trial for event in self.of(TrialFinished)}
        for record in records:
            heard = {event.metrics.epoch for event in self.of(EpochReported) if event.trial == record.trial}
            missed = [] if record.trial in known else reports(record.trial)
            for report in missed:
                if report.metrics.epoch not in heard:
                    self.record(report)
            if record.state.is_finished and record.trial not in known:
                self.record(TrialFinished(record, record.finished_at_s or at_s))


@dataclass
class Listener(CatchingUp):
    """A Recorder whose events survive the driver, as an outbox does."""

    events: list[Event] = field(default_factory=list)
    on_record: Callable[[Callable[[], object]], None] = lambda append: append() and None

    def record(self, event: Event) -> None:
        self.on_record(lambda: self.events.append(event))

    def close(self) -> None:
        """Nothing waits."""

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


def work(
    config: TrialConfig, folder: Path, *, pruned: Callable[[int], bool] = lambda epoch: False
) -> Iterator[TrialResult]:
    """Train like a worker: a checkpoint is on disk before its epoch is reported, and a new worker goes on from it."""
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    history = [metrics(*epoch) for epoch in json.loads(last.read_text())] if last.exists() else []
    new = tuple(history)
    while True:
        reason = StopReason.FINISHED if len(history) >= config.max_epochs else None
        if reason is None and history and pruned(len(history)):
            reason = StopReason.PRUNED
        if history:
            yield _report(new, history, folder, reason)
        if reason:
            return
        new = (metrics(len(history) + 1, learning_curve(config, len(history) + 1)),)
        history += new
        last.write_text(json.dumps([(epoch.epoch, epoch.values["val_auc"]) for epoch in history]))


def _report(
    new: tuple[EpochMetrics, ...], history: list[EpochMetrics], folder: Path, ended: StopReason | None
) -> TrialResult:
    best = max(history, key=lambda epoch: epoch.values["val_auc"])
    evaluation = {"shifted.dark.auc": best.values["val_auc"] / 2} if ended else {}
    return TrialResult(new, str(folder / f"epoch-{best.epoch:04d}"), ended, evaluation)


def started(storage: StudyStorage, *, resumed: bool = True) -> StudyStarted:
    return StudyStarted(
        storage.name, storage.study_id, storage.spec, storage.study_file, DATA, resumed, 0, 1, "cpu", (), 1.0
    )  # fmt: skip


def drive(layout: StudyLayout, listener: Listener, *, slots: int = 1, evaluates: bool = False) -> StudyEnded:
    """Go on with a study until all its trials ended, as Tune would with workers that start afresh each time."""
    with driver_lock(layout):
        storage = StudyStorage.open(layout)
        controller = TrialController(storage, layout, listener, evaluates=evaluates)
        controller.start_session(started(storage))
        busy: list[tuple[int, Iterator[TrialResult]]] = []
        while True:
            while len(busy) < slots and (assignment := controller.next_assignment()) is not None:
                controller.on_trial_started(assignment.trial)
                busy.append((assignment.trial, start(assignment, layout)))
            if not busy:
                return controller.end_session()
            number, reports = busy.pop(0)
            if not controller.on_trial_result(number, next(reports)):
                busy.append((number, reports))


def start(assignment: Assignment, layout: StudyLayout) -> Iterator[TrialResult]:
    pruned = assignment.stop.epoch if assignment.stop else None
    folder = layout.trial(assignment.trial)
    return work(assignment.config, folder, pruned=lambda epoch: pruned is not None and epoch >= pruned)


@dataclass
class Executioner:
    """Kills the driver at its n-th write to the journal or the listener: before it, in the middle or after it."""

    at: int = 0
    moment: str = "after"
    writes: int = 0

    def install(self, patch: pytest.MonkeyPatch, listener: Listener) -> None:
        append = JournalBackend._append
        patch.setattr("os.fsync", lambda handle: None)

        def append_or_die(journal: JournalBackend, lines: bytes) -> None:
            self._strike(lambda: append(journal, lines), lambda: append(journal, lines[: len(lines) // 2]))

        patch.setattr(JournalBackend, "_append", append_or_die)
        listener.on_record = lambda write: self._strike(write, lambda: None)

    def _strike(self, write: Callable[[], object], half: Callable[[], object]) -> None:
        self.writes += 1
        if self.writes != self.at:
            write()
            return
        if self.moment == "after":
            write()
        elif self.moment == "torn":
            half()
        raise Killed


def story(record: TrialRecord) -> tuple[object, ...]:
    """Return all of a record that must not depend on interruptions."""
    return (
        record.trial, record.state, dict(record.params), dict(record.config), record.stop_reason, record.value,
        record.epoch, record.history, record.checkpoint, record.error,
    )  # fmt: skip


def stories(records: Sequence[TrialRecord]) -> list[tuple[object, ...]]:
    """Return the stories of records but for where the study lies."""
    return [
        tuple(Path(part).name if isinstance(part, str) and "epoch-" in part else part for part in story(record))
        for record in records
    ]


def check_whole(layout: StudyLayout, listener: Listener) -> list[TrialRecord]:
    """Check everything that must hold of a study that ended, however often it was interrupted."""
    records = StudyStorage.open(layout).records()
    spec = StudyStorage.open(layout).spec
    assert [trial.trial for trial in records] == list(range(spec.search.trials))
    assert all(trial.state.is_finished for trial in records)
    lines = [json.loads(line) for line in layout.journal.read_text().splitlines()]
    told = [line["trial_id"] for line in lines if line.get("state") in (1, 2, 3) and "trial_id" in line]
    assert sorted(told) == [trial.trial for trial in records], "each trial is told once"
    for record in records:
        assert [epoch.epoch for epoch in record.history] == list(range(1, record.epochs_run + 1))
        reports = [report for report in listener.of(EpochReported) if report.trial == record.trial]
        assert {report.metrics.epoch for report in reports} == {epoch.epoch for epoch in record.history}
        words = {(report.metrics.epoch, report.at_s, report.best_value, report.best_epoch) for report in reports}
        assert len(words) == record.epochs_run, "an epoch told twice is told in the same words"
        assert record.trial in {event.record.trial for event in listener.of(TrialFinished)}
        assert not (layout.trial(record.trial) / "last.pt").exists()
        assert record.checkpoint is None or record.checkpoint.endswith(f"epoch-{record.epoch:04d}")
    return records
