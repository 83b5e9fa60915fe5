"""Make a study of many trials without training one: in a results folder, and on an MLflow database."""

from __future__ import annotations

import math
import os
import random
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import ReplicatesSpec, SearchSpec
from study.config.search_space import Choice, Condition, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.events import EpochReported, StudyEnded, StudyStarted, TrialFinished
from study.metric_catalog import EVALUATED
from study.paths import Layout, StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, StudyOutcome, TrialRecord, TrialState
from study.storage.study_storage import StudyStorage

SPACE = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam", "adamw"))),
    Parameter(
        name="momentum", domain=Uniform(low=0.0, high=0.99),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="depth", domain=Choice(values=(10, 18, 34, 50))),
    Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
    Parameter(name="weight_decay", domain=Uniform(low=1e-6, high=1e-2, log=True)),
    Parameter(name="head_width", domain=Integer(low=32, high=1024, log=True)),
)  # fmt: skip
DATA = DataSummary(
    "faces", "f" * 64, 64, ("not_wearing_mask", "wearing_mask"), {"train": 1200, "val": 400},
    {"val": {"not_wearing_mask": 200, "wearing_mask": 200}},
)  # fmt: skip
_BEGAN_S = 1_780_000_000.0


def write_study(layout: StudyLayout, trials: int, epochs: int, replicates: int = 1) -> StudyStorage:
    """Let the storage itself store all trials, but sync none of them."""
    spec = StudySpec(
        name=layout.root.name,
        trial=Hyperparameters(max_epochs=epochs),
        space=SPACE,
        replicates=ReplicatesSpec(count=replicates),
        search=SearchSpec(sampler="random", trials=trials, pruner="none"),
    )
    layout.root.mkdir(parents=True)
    chance = random.Random(0)
    with mock.patch.object(os, "fsync"):
        storage = StudyStorage.create(layout, spec, f"name: {spec.name}\n", data=DATA, environment={"torch": "2.9"})
        storage.begin_session(time.time())
        for _ in range(trials):
            _run_one(storage, epochs, chance)
        storage.note_end(None)
    return storage


def _run_one(storage: StudyStorage, epochs: int, chance: random.Random) -> None:
    assignment = storage.ask()
    assert assignment is not None
    config = assignment.config
    good = 0.9 - 0.05 * abs(math.log10(config.learning_rate) + 2.5) + 0.0002 * config.depth
    for epoch in range(1, epochs + 1):
        values = _metrics(good - 0.2 / epoch + chance.gauss(0.0, 0.01), chance)
        storage.report(assignment.trial, EpochMetrics(epoch, values), f"trials/{assignment.trial:05d}/best", 1.0)
    storage.tell(assignment.trial, TrialState.COMPLETE, StopReason.FINISHED)


def _metrics(value: float, chance: random.Random) -> dict[str, float]:
    val = {f"val_{name}": value + chance.gauss(0.0, 0.01) for name in EVALUATED}
    dark = {f"shifted.dark.{name}": value - 0.1 + chance.gauss(0.0, 0.01) for name in EVALUATED}
    names = ("train_loss", "train_accuracy", "learning_rate", "epoch_s", "images_per_s", "peak_memory_bytes",
             "latency_ms", "parameters", "val_recall.wearing_mask", "val_recall.not_wearing_mask",
             "val_f1.wearing_mask", "val_f1.not_wearing_mask")  # fmt: skip
    return {**{name: chance.random() for name in names}, **val, **dark, "val_auc": value}


def write_runs(layout: Layout, study: StudyLayout, storage: StudyStorage, database: Path) -> str:
    """Put the study's runs into an MLflow database, as the tracker would have, and return the experiment's id."""
    from tracking.client.client import TrackingClient
    from tracking.exporter.recorder import OutboxRecorder
    from tracking.run_ids import load_runs

    uri = f"sqlite:///{database}"
    records = storage.records()
    started = StudyStarted(
        storage.name, storage.study_id, storage.spec, storage.study_file, DATA, False, 0, 2, "cpu", (), _BEGAN_S,
        len(records),
    )  # fmt: skip
    counts = {state.value: count for state, count in storage.counts().items() if count}
    recorder = OutboxRecorder(study, uri)
    recorder.record(started)
    recorder.record(StudyEnded(storage.name, StudyOutcome.FINISHED, None, counts, _BEGAN_S + 1))
    recorder.close()
    runs = load_runs(study.runs)
    assert runs is not None
    assert runs.parent is not None
    client = TrackingClient(uri)
    best = max(record.value for record in records if record.value is not None)
    for name, value in (("trials.started", len(records)), ("trials.complete", len(records)), ("best.val_auc", best)):
        client.api.log_metric(runs.parent, name, value)
    _insert(database, str(runs.experiment_id), runs.parent, started, records)
    return str(runs.experiment_id)


def _insert(database: Path, experiment: str, parent: str, started: StudyStarted, records: list[TrialRecord]) -> None:
    """Insert the children's rows at once: one request after another would take an hour."""
    with sqlite3.connect(database) as connection:
        ids = {record.trial: uuid.uuid5(uuid.NAMESPACE_OID, f"{parent}/{record.trial}").hex for record in records}
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'LOCAL', 'study', '', 'me', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            [
                (ids[record.trial], f"trial {record.trial:04d}", int(1000 * _BEGAN_S) + record.trial,
                 int(1000 * _BEGAN_S) + record.trial + 900,
                 f"mlflow-artifacts:/{experiment}/{ids[record.trial]}/artifacts", experiment)
                for record in records
            ],
        )  # fmt: skip
        for table in ("tags", "params"):
            rows = (
                (key, value, ids[record.trial])
                for record in records
                for key, value in _texts(table, record, started, parent)
            )
            connection.executemany(f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)", rows)
        for table, latest in (("metrics", False), ("latest_metrics", True)):
            connection.executemany(
                f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
                (row for record in records for row in _points(record, ids[record.trial], latest=latest)),
            )


def _texts(table: str, record: TrialRecord, started: StudyStarted, parent: str) -> Iterator[tuple[str, str]]:
    from tracking.content.tags_and_metrics import finish_tags, trial_params, trial_tags

    if table == "params":
        yield from trial_params(record).items()
        return
    tags: Mapping[str, str] = {**trial_tags(record, 1, started, None), **finish_tags(record)}
    yield from tags.items()
    yield from (("mlflow.parentRunId", parent), ("mlflow.runName", f"trial {record.trial:04d}"))
    yield ("study.checkpoint", "checkpoint")


def _points(record: TrialRecord, run: str, *, latest: bool) -> Iterator[tuple[str, float, int, int, str]]:
    from tracking.content.tags_and_metrics import finish_points, report_points

    epochs = record.history[-1:] if latest else record.history
    for epoch in epochs:
        report = EpochReported(record.study, record.trial, epoch, 0.0, 1, _BEGAN_S + epoch.epoch)
        for point in report_points(report):
            yield point.key, point.value, point.time_ms, point.step, run
    for point in finish_points(TrialFinished(record, _BEGAN_S + 9)):
        yield point.key, point.value, point.time_ms, point.step, run
