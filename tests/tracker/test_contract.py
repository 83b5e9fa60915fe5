"""What holds for every recorder: in memory, on sqlite, and over HTTP to a real server, one that fails included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from recorders import MemoryRecorder, Script, play
from tracking_backends import Backend

from study.config.study_config import StudySpec
from study.events import Event, Recorder, TrialFinished, TrialStarted
from study.records import TrialState
from tracking.exporter.sync import sync

States = dict[int, str]


@pytest.fixture(params=["memory", "sqlite", "http", "faulty"])
def place(request: pytest.FixtureRequest) -> tuple[Recorder, Callable[[], States]]:
    """A recorder, and a function that tells the trials' states as it remembers them."""
    if request.param == "memory":
        memory = MemoryRecorder()
        return memory, lambda: _told(memory.events)
    fixture = {"sqlite": "database", "http": "remote", "faulty": "faulty"}[request.param]
    backend: Backend = request.getfixturevalue(fixture)
    there = request.getfixturevalue("server").address if request.param == "faulty" else backend.uri
    return backend.open(), lambda: _stored(replace(_synced(backend), uri=there))


def _told(events: list[Event]) -> States:
    states = {}
    for event in events:
        if isinstance(event, TrialStarted | TrialFinished):
            states[event.record.trial] = event.record.state.value
    return states


def _synced(backend: Backend) -> Backend:
    """Send what a server that fails has not taken yet, as somebody would by hand."""
    sync(backend.layout, backend.study(), backend.uri)
    return backend


def _stored(backend: Backend) -> States:
    children = [run for run in backend.runs().values() if run.tags["study.kind"] == "trial"]
    return {int(run.tags["study.trial"]): run.tags["study.state"] for run in children}


def test_last_state_of_every_trial_is_remembered(place: tuple[Recorder, Callable[[], States]]) -> None:
    recorder, states = place
    play(recorder, Script().whole())
    assert states() == {0: "COMPLETE", 1: "PRUNED", 2: "FAILED", 3: "COMPLETE"}


def test_parent_run_says_what_ran(played: Backend) -> None:
    parent = played.runs()["played"]
    assert parent.status == "FINISHED"
    assert parent.params["study.metric"] == "val_auc"
    assert parent.params["study.trials"] == "4"
    assert parent.params["data.images"] == "80"
    assert parent.tags["study.state"] == "finished"
    assert parent.tags["study.data_fingerprint"] == "f" * 64
    assert parent.tags["study.notices"] == "imagenet weights are missing: dropped"
    assert "2 complete, 1 pruned, 1 failed" in parent.tags["mlflow.note.content"]
    assert parent.metrics["best.val_auc"] == pytest.approx(0.73)
    assert played.history(parent, "best.val_auc") == [(1, pytest.approx(0.7))] + [
        (step, pytest.approx(value))
        for step, value in [(2, 0.71), (3, 0.71), (4, 0.73)]  # the pruned trial leads for a while
    ]


def test_parent_run_keeps_study_file_environment_and_data(played: Backend) -> None:
    parent = played.runs()["played"]
    assert played.artifact(parent, "study.yaml").read_text() == "name: played # as given\n"
    assert '"mlflow": "3' in played.artifact(parent, "environment.json").read_text()
    import mlflow

    client = mlflow.MlflowClient(played.uri or f"sqlite:///{played.layout.mlflow_db}")
    (data,) = client.get_run(parent.id).inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("faces", "f" * 36)
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


def test_child_runs_are_nested_and_complete(played: Backend) -> None:
    runs = played.runs()
    assert sorted(runs) == ["played", "trial 0000", "trial 0001", "trial 0002", "trial 0003"]
    assert [runs[f"trial 000{n}"].status for n in range(4)] == ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    child = runs["trial 0001"]
    assert child.tags["mlflow.parentRunId"] == runs["played"].id
    assert child.params == {
        "optimizer": "adam", "learning_rate": "0.002", "depth": "18", "batch_size": "64",
        "seed": "7", "point": "1", "replicate": "0",
    }  # fmt: skip
    wanted = {"trial": "1", "point": "1", "replicate": "0", "seed": "7", "attempts": "1", "stop_reason": "pruned"}
    assert {key: child.tags[f"study.{key}"] for key in wanted} == wanted
    assert child.metrics["best.val_auc"] == pytest.approx(0.71)
    assert child.metrics["best.epoch"] == 2
    assert played.history(child, "val_auc") == [(1, pytest.approx(0.61)), (2, pytest.approx(0.71))]


def test_checkpoint_and_traceback_become_artifacts(played: Backend) -> None:
    runs = played.runs()
    stored = played.artifact(runs["trial 0000"], "checkpoint")
    assert sorted(path.name for path in stored.iterdir()) == ["checkpoint.json", "validation.npz"], "models have them"
    assert "boom" in played.artifact(runs["trial 0002"], "error.txt").read_text()
    assert "study.checkpoint" not in runs["trial 0001"].tags


def test_non_finite_metrics_do_not_cost_the_finite_ones(backend: Backend) -> None:
    script = Script()
    values = {"val_auc": 0.5, "val_loss": float("nan"), "train_loss": float("inf")}
    play(backend.open(), [script.start(), script.begin(0), script.report(0, 1, values), script.finish(0), script.end()])
    stored = backend.runs()["trial 0000"].metrics
    assert stored["val_auc"] == 0.5
    assert stored["val_loss"] != stored["val_loss"]
    assert stored["train_loss"] > 1e308


def test_more_than_100_params_and_long_values_are_stored(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    record = script.record(0)
    config = {**record.config, **{f"extra_{n:03d}": n for n in range(250)}, "long": "x" * 7000, "emoji": "Größe 🙂 'q'"}
    started = replace(script.begin(0), record=replace(record, config=config))
    play(backend.open(), [script.start(), started, script.finish(0), script.end()])
    params = backend.runs()["trial 0000"].params
    assert params["extra_249"] == "249"
    assert params["emoji"] == "Größe 🙂 'q'"
    assert len(params["long"]) == 6000
    assert params["long"].endswith("(cut, 7000 characters)")
    assert "long has 7000 and was cut" in caplog.text


def test_pruner_and_mode_of_a_minimised_study(backend: Backend) -> None:
    script = Script()
    spec = StudySpec.model_validate({**script.spec().model_dump(), "objective": {"metric": "val_loss", "mode": "min"}})
    ends = [script.finish(n, TrialState.COMPLETE) for n in range(2)]
    ends = [replace(e, record=replace(e.record, value=v)) for e, v in zip(ends, (0.5, 0.9), strict=True)]
    play(backend.open(), [replace(script.start(), spec=spec), *ends, script.end()])
    assert backend.runs()["faces"].metrics["best.val_loss"] == 0.5
