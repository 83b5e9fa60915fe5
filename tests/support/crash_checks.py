"""What must hold of a study that came to its end, however often it was killed: storage, MLflow, files, processes."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crash_kit import Driver, Tally, told, workers

from study.config.study_config import StudySpec
from study.paths import Layout, StudyLayout
from study.records import TrialRecord
from study.storage.study_storage import StudyStorage
from study.training.checkpoint import best_folder, load_scores, load_weights, read_card
from tracking.client.client import Run, TrackingClient
from tracking.content.tags_and_metrics import STATUS
from tracking.tracking_uri import own_tracking_uri

MEASURED = ("epoch_s", "images_per_s", "peak_memory_bytes", "latency_ms")
GOODBYE_S = 200.0


@dataclass(frozen=True)
class Ended:
    """A study that came to its end, what MLflow has of it, and every driver there was."""

    results: Path
    study: StudyLayout
    spec: StudySpec
    records: Sequence[TrialRecord]
    planned: int
    runs: Sequence[Run]
    drivers: Sequence[Driver]

    @classmethod
    def read(cls, results: Path, name: str, drivers: Sequence[Driver] = ()) -> Ended:
        """Read what is left of a study."""
        layout = Layout(results)
        storage, client = StudyStorage.open(layout.study(name)), TrackingClient(own_tracking_uri(layout))
        experiment = client.find_experiment(name)
        assert experiment is not None
        runs = list(client.search([experiment.id], ""))
        return cls(results, layout.study(name), storage.spec, storage.records(), storage.planned, runs, drivers)

    def history(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """Return every stored (step, value) of a metric, by step."""
        import mlflow

        client = mlflow.MlflowClient(own_tracking_uri(Layout(self.results)))
        return sorted((point.step, point.value) for point in client.get_metric_history(run.id, metric))

    def by_trial(self) -> dict[int, Run]:
        """Return the run of each trial."""
        return {int(run.tags["study.trial"]): run for run in self.runs if "study.trial" in run.tags}


def all_planned_trials(end: Ended) -> None:
    assert [record.trial for record in end.records] == list(range(end.planned))
    assert all(record.state.is_finished for record in end.records)


def each_trial_told_once(end: Ended) -> None:
    assert told(end.study) == Counter(record.trial for record in end.records)


def one_run_per_trial(end: Ended) -> None:
    keys = Counter(run.tags.get("study.key") for run in end.runs)
    assert len(keys) == len(end.runs) == len(end.records) + 1, keys


def nothing_left_running(end: Ended) -> None:
    assert not [run.name for run in end.runs if run.status == "RUNNING"]


def every_epoch_reported_once(end: Ended) -> None:
    for record in end.records:
        run, epochs = end.by_trial()[record.trial], list(range(1, record.epochs_run + 1))
        assert [epoch.epoch for epoch in record.history] == epochs
        for metric in record.history[0].values if record.history else ():
            stored = [(epoch.epoch, epoch.values[metric]) for epoch in record.history]
            assert end.history(run, metric) == stored, (record.trial, metric)


def storage_and_mlflow_agree(end: Ended) -> None:
    for record in end.records:
        run = end.by_trial()[record.trial]
        assert (run.status, run.tags["study.state"]) == (STATUS[record.state], record.state.value)
        assert {name: run.params[name] for name in record.params} == {
            name: str(value) for name, value in record.params.items()
        }
        best = end.history(run, f"best.{end.spec.objective.metric}")
        assert best == ([] if record.value is None else [(0, record.value)])
    parent = next(run for run in end.runs if run.tags["study.kind"] == "study")
    assert parent.status == "FINISHED"


def checkpoints_load(end: Ended) -> None:
    from sklearn.metrics import roc_auc_score

    for record in end.records:
        if record.checkpoint is None:
            continue
        folder = Path(record.checkpoint)
        assert record.epoch is not None
        assert folder == best_folder(end.study.trial(record.trial), record.epoch).absolute()
        assert read_card(folder).epoch == record.epoch
        scores, labels = load_scores(folder)
        assert abs(roc_auc_score(labels, scores) - record.metrics["val_auc"]) < 1e-9
        assert not record.kept or load_weights(folder)


def no_leftovers(end: Ended) -> None:
    left = [str(path) for pattern in ("*.part", "last.pt", ".tune-*") for path in end.study.root.rglob(pattern)]
    assert not left
    for record in end.records:
        assert len(list(end.study.trial(record.trial).glob("epoch-*"))) <= 1
        assert (end.study.trial(record.trial) / "pictures.html").exists() or record.error


def no_stray_processes(end: Ended) -> None:
    until = time.monotonic() + GOODBYE_S
    while left := [*(pid for driver in end.drivers for pid in driver.session(agents=False)), *dict(workers(end.study))]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


INVARIANTS: tuple[Callable[[Ended], None], ...] = (
    all_planned_trials, each_trial_told_once, one_run_per_trial, nothing_left_running, every_epoch_reported_once,
    storage_and_mlflow_agree, checkpoints_load, no_leftovers, no_stray_processes,
)  # fmt: skip


def story(record: TrialRecord) -> dict[str, Any]:
    """Return all of a trial that must be the same however often it was interrupted, its weights' bytes included."""
    weights = Path(record.checkpoint or "none") / "model.safetensors"
    return {
        "state": record.state,
        "params": dict(record.params),
        "config": dict(record.config),
        "stop_reason": record.stop_reason,
        "epoch": record.epoch,
        "history": [(epoch.epoch, _computed(epoch.values)) for epoch in record.history],
        "metrics": _computed(record.metrics),
        "kept": record.kept,
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None,
    }


def _computed(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name not in MEASURED}


def check(end: Ended, tally: Tally, undisturbed: Sequence[TrialRecord] | None = None) -> None:
    """Try every invariant, and count; where the sampler could not decide otherwise, compare with an undisturbed run."""

    def same_as_undisturbed(end: Ended) -> None:
        for mine, other in zip(end.records, undisturbed or (), strict=True):
            there, expected = story(mine), story(other)
            different = {name: (there[name], expected[name]) for name in there if there[name] != expected[name]}
            assert not different, f"trial {mine.trial}: {different}"[:2000]

    last = [same_as_undisturbed] if undisturbed is not None else []
    for invariant in (*INVARIANTS, *last):
        began = time.perf_counter()
        try:
            invariant(end)
        except Exception as fault:  # a check that breaks has not held
            tally.failures.append(f"{end.results}: {invariant.__name__}: {fault!r}")
        tally.checked[invariant.__name__] += 1
        tally.spent_s[invariant.__name__] += time.perf_counter() - began
