"""The checkpoints a study stands for are MLflow models: each once, with its metrics, and none of another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorders import Script, play, write_checkpoint
from tracking_backends import Backend

from study.errors import TrackingError
from study.events import Event
from study.paths import CARD, WEIGHTS
from study.records import StudyOutcome, TrialRecord
from study.utils.named_places import remember_place
from tracking.exporter.outbox_sender import OutboxReader
from tracking.exporter.sync import sync
from tracking.models import logged_models as models
from tracking.models import model_files as model_store
from tracking.outbox.outbox import Outbox


class Study:
    """A study of three trials whose checkpoints are there."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.script = Script()
        self.records: list[TrialRecord] = []

    def checkpoint(self, trial: int) -> Path:
        return self.backend.study().trial(trial) / "epoch-0002"

    def first_part(self, kept: Sequence[int], trials: int = 3) -> list[Event]:
        events: list[Event] = [self.script.start()]
        for trial in range(trials):
            checkpoint = write_checkpoint(self.checkpoint(trial))
            finished = self.script.finish(trial, checkpoint=checkpoint)
            self.records.append(finished.record)
            events += [self.script.begin(trial), self.script.report(trial, 1), self.script.report(trial, 2), finished]
        return [*events, self.end(kept, StudyOutcome.STOPPED)]

    def end(self, kept: Sequence[int], outcome: StudyOutcome = StudyOutcome.FINISHED) -> Event:
        for trial in range(len(self.records)):
            if trial not in kept:
                (self.checkpoint(trial) / WEIGHTS).unlink(missing_ok=True)
        return replace(self.script.end(outcome, self.records[kept[0]]), kept=tuple(kept))

    def play(self, events: list[Event]) -> None:
        play(self.backend.open(), events)

    def resumed_without(self, dropped: int, kept: Sequence[int]) -> None:
        assert dropped not in kept
        self.play([self.script.start(resumed=True, finished=3), self.end(kept)])

    def replay(self) -> None:
        sync(self.backend.layout, self.backend.study(), self.backend.uri, everything=True)

    def models(self, *, by_age: bool = False) -> list[Any]:
        """Return the logged models as MLflow ranks them; its table begins with the newest."""
        client = self.backend.client()
        experiment = client.find_experiment(self.backend.name)
        assert experiment is not None
        by_auc = [{"field_name": "metrics.best.val_auc", "ascending": False}]
        return list(client.api.search_logged_models([experiment.id], order_by=None if by_age else by_auc))

    def files(self, model: Any, scratch: Path) -> dict[str, Path]:
        import mlflow

        uri = self.backend.client().api.tracking_uri
        folder = Path(mlflow.artifacts.download_artifacts(model.artifact_location, dst_path=scratch, tracking_uri=uri))
        return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def study(backend: Backend) -> Study:
    return Study(backend)


@pytest.fixture
def local(database: Backend) -> Study:
    return Study(database)


def trials(logged: list[Any]) -> list[int]:
    return [int(model.tags["study.trial"]) for model in logged]


def test_each_kept_checkpoint_is_a_model_that_mlflow_ranks(study: Study, tmp_path: Path) -> None:
    study.play(study.first_part(kept=(2, 0)))
    best, other = study.models()
    assert trials([best, other]) == trials(study.models(by_age=True)) == [2, 0]
    runs = study.backend.runs()
    assert [str(model.status.value) for model in (best, other)] == ["READY", "READY"]
    assert (best.name, best.source_run_id) == ("trial 0002", runs["trial 0002"].id)
    assert best.params == runs["trial 0002"].params
    told = {metric.key: metric.value for metric in best.metrics}
    assert told == {"best.val_auc": pytest.approx(0.72), "best.val_loss": 0.25, "best.epoch": 2.0}
    assert {(metric.dataset_name, metric.dataset_digest) for metric in best.metrics} == {("faces", "f" * 36)}
    outputs = study.backend.client().api.get_run(best.source_run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [best.model_id]
    files = study.files(best, tmp_path / "fetched")
    assert set(files) == {
        "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", f"checkpoint/{CARD}", f"checkpoint/{WEIGHTS}",
    }  # fmt: skip
    assert files[f"checkpoint/{WEIGHTS}"].read_bytes() == (study.checkpoint(2) / WEIGHTS).read_bytes()


def test_a_replay_makes_no_second_model_and_no_second_point(study: Study) -> None:
    study.play(study.first_part(kept=(2, 0)))
    before = study.models()
    study.replay()
    after = study.models()
    assert [model.model_id for model in after] == [model.model_id for model in before]
    assert [len(model.metrics) for model in after] == [3, 3]
    assert study.backend.history(study.backend.runs()["trial 0002"], "best.val_auc") == [(0, pytest.approx(0.72))]


def test_a_checkpoint_the_study_no_longer_stands_for_is_no_model(study: Study, tmp_path: Path) -> None:
    study.play(study.first_part(kept=(2, 0)))
    best, dropped = study.models()
    study.resumed_without(0, kept=(2,))
    assert [model.model_id for model in study.models()] == [best.model_id]
    assert f"checkpoint/{WEIGHTS}" not in study.files(dropped, tmp_path / "fetched")
    study.replay()
    assert [model.model_id for model in study.models()] == [best.model_id], "the end before the resume is obsolete"


def test_a_dropped_checkpoint_that_somebody_registered_stays(local: Study, tmp_path: Path) -> None:
    local.play(local.first_part(kept=(2, 0)))
    _, dropped = local.models()
    versions = {models.VERSIONS: '[{"name": "masks", "version": 1}]'}
    local.backend.client().api.set_logged_model_tags(dropped.model_id, versions)
    local.resumed_without(0, kept=(2,))
    assert trials(local.models()) == [2, 0]
    assert local.models()[1].tags[models.KEPT] == "false"
    assert f"checkpoint/{WEIGHTS}" in local.files(dropped, tmp_path / "fetched")


def test_an_upload_that_broke_is_completed(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    put = model_store.put_file

    def broken(client: Any, model_id: str, location: str, file: Path, folder: str = "") -> None:
        if file.name == "MLmodel":
            raise TrackingError("the connection was cut")
        put(client, model_id, location, file, folder)

    outbox = Outbox(study.backend.study().outbox)
    for event in study.first_part(kept=(1,)):
        outbox.append(event)
    outbox.close()
    with monkeypatch.context() as patch:
        patch.setattr(model_store, "put_file", broken)
        drain = OutboxReader(study.backend.study(), study.backend.client().api.tracking_uri)
        with pytest.raises(TrackingError, match="was cut"):
            drain.run()
        drain.close()
    (pending,) = study.models()
    assert str(pending.status.value) == "PENDING"
    study.replay()
    (whole,) = study.models()
    assert (whole.model_id, str(whole.status.value)) == (pending.model_id, "READY")


def test_of_two_models_that_an_outage_made_one_stays(local: Study) -> None:
    local.play(local.first_part(kept=(2,)))
    (first,) = local.models()
    client = local.backend.client().api
    client.create_logged_model(first.experiment_id, first.name, first.source_run_id, dict(first.tags))
    assert trials(local.models()) == [2, 2]
    local.replay()
    assert [model.model_id for model in local.models()] == [first.model_id]


def test_another_server_gets_it_all_from_an_outbox_with_a_resume(
    local: Study, tmp_path: Path, empty_database: Path
) -> None:
    local.play(local.first_part(kept=(1, 0), trials=2))
    finished = local.script.finish(2, checkpoint=write_checkpoint(local.checkpoint(2)))
    local.records.append(finished.record)
    local.play([local.script.start(resumed=True, finished=2), local.script.begin(2), finished, local.end((2, 1))])
    assert trials(local.models()) == [2, 1]
    (tmp_path / "other").mkdir()
    shutil.copy(empty_database, tmp_path / "other")
    local.backend = replace(local.backend, uri=f"sqlite:///{tmp_path / 'other' / empty_database.name}")
    sync(local.backend.layout, local.backend.study(), local.backend.uri)
    assert trials(local.models()) == [2, 1]


def test_a_server_before_models_gets_the_rest(
    local: Study, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import mlflow

    def unknown(*arguments: Any, **options: Any) -> None:
        raise mlflow.exceptions.RestException({"error_code": "ENDPOINT_NOT_FOUND", "message": "404"})

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.search_logged_models", unknown)
        local.play(local.first_part(kept=(2,)))
    assert "this server is older" in caplog.text
    assert local.models() == []
    assert local.backend.runs()["faces"].tags["study.state"] == "stopped"


def test_weights_are_linked_where_they_can_be(local: Study) -> None:
    local.play(local.first_part(kept=(2,)))
    (model,) = local.models()
    stored = Path(model.artifact_location.removeprefix("file://")) / "checkpoint" / WEIGHTS
    assert os.path.samefile(stored, local.checkpoint(2) / WEIGHTS)


def test_weights_that_lie_elsewhere_leave_their_model_pending(local: Study) -> None:
    events = local.first_part(kept=(2,))
    (local.checkpoint(2) / WEIGHTS).unlink()
    local.play(events)
    (model,) = local.models()
    assert str(model.status.value) == "PENDING"
    assert {metric.key for metric in model.metrics} == {"best.val_auc", "best.val_loss", "best.epoch"}


def test_a_damaged_card_is_said_and_the_others_are_models(local: Study, caplog: pytest.LogCaptureFixture) -> None:
    events = local.first_part(kept=(2, 1))
    (local.checkpoint(2) / CARD).write_text("{")
    local.play(events)
    assert trials(local.models()) == [1]
    assert "cannot be used" in caplog.text
    assert local.backend.runs()["faces"].status == "KILLED"


def test_an_end_of_former_days_names_the_best_alone(local: Study) -> None:
    *events, end = local.first_part(kept=(2, 1))
    local.play([*events, replace(end, kept=())])
    assert trials(local.models()) == [2]


def test_weights_that_lie_in_a_storage_become_models_when_it_can_be_read(
    local: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, near = tmp_path / "store" / "00000" / "epoch-0002", local.checkpoint(0)
    write_checkpoint(near)
    (near / WEIGHTS).unlink()  # the driver has the card and the scores alone
    finished = local.script.finish(0)
    record = replace(finished.record, checkpoint=store.as_uri())
    local.records.append(record)
    remember_place(local.backend.study().results, (tmp_path / "store").as_uri())
    told = [local.script.start(), local.script.begin(0), local.script.report(0, 1), replace(finished, record=record)]
    local.play([*told, replace(local.script.end(StudyOutcome.FINISHED, record), kept=(0,))])
    (model,) = local.models()
    assert model.status.value == "PENDING"
    assert f"the weights of {store.as_uri()} cannot be read now" in caplog.text

    write_checkpoint(store)
    local.replay()
    (again,) = local.models()
    assert (again.model_id, again.status.value) == (model.model_id, "READY")
    weights = local.files(again, tmp_path / "fetched")[f"checkpoint/{WEIGHTS}"]
    assert weights.read_bytes() == (store / WEIGHTS).read_bytes()
