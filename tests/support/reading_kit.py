"""Studies in a results folder, written by the storage itself and not by an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.config.search_config import SearchSpec
from study.config.search_space import Choice, Condition, Parameter, Uniform
from study.config.study_config import StudySpec
from study.paths import StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, TrialState
from study.storage.study_storage import StudyStorage

DATA = DataSummary(
    "faces", "f" * 64, 32, ("no", "yes"), {"train": 60, "val": 20}, {"val": {"no": 10, "yes": 10}}
)  # fmt: skip
SPACE = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
    Parameter(
        name="momentum", domain=Uniform(low=0.0, high=0.9),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="depth", domain=Choice(values=(10, 18, 34))),
)  # fmt: skip


def begin(layout: StudyLayout, trials: int = 8, data: DataSummary = DATA, **spec: Any) -> StudyStorage:
    """Begin a study of drawn points."""
    layout.root.mkdir(parents=True, exist_ok=True)
    search = SearchSpec(sampler="random", trials=trials, pruner="none")
    whole = StudySpec(**{"name": layout.root.name, "space": SPACE, "search": search, **spec})
    return StudyStorage.create(layout, whole, "name: s\n", data=data, environment={"cpu": "a", "commit": "1" * 40})


def values_of(trial: int, epoch: int) -> dict[str, float]:
    """Return made-up metrics of an epoch."""
    return {"val_auc": 0.5 + 0.01 * (trial * 7 % 10) + 0.001 * epoch, "val_loss": 1.0 / epoch, "epoch_s": 0.1 * trial}


def run_one(
    storage: StudyStorage, state: TrialState = TrialState.COMPLETE, epochs: int = 2, **more: float
) -> int | None:
    """Take one trial from its start to its end, RUNNING leaves it open; return its number."""
    assignment = storage.ask()
    if assignment is None:
        return None
    number = assignment.trial
    for epoch in range(1, epochs + 1):
        metrics: Mapping[str, float] = {**values_of(number, epoch), **more}
        storage.report(number, EpochMetrics(epoch, metrics), f"trials/{number}/epoch-{epoch}", 1.5)
    if state is TrialState.PRUNED:
        storage.stop(number, StopReason.PRUNED)
    if state is not TrialState.RUNNING:
        reasons = {TrialState.COMPLETE: StopReason.FINISHED, TrialState.PRUNED: StopReason.PRUNED}
        error = "RuntimeError: boom" if state is TrialState.FAILED else None
        storage.tell(number, state, reasons.get(state, StopReason.ERROR), error=error)
    return number
