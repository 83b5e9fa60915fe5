"""What a server refuses for ever and what it will take later; what an outbox lacks; disks that refuse."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from recorders import Script, play
from tracking_backends import Backend

from cli.commands.run import remove_if_nothing_began
from study.errors import TrackingError
from study.events import Event
from study.paths import Layout
from study.storage.lock import driver_lock
from tracking.client.client import TrackingClient
from tracking.client.errors import LostError, RefusedError, translate
from tracking.content.tags_and_metrics import Batch, Point
from tracking.exporter import outbox_sender as drain_module
from tracking.exporter.outbox_sender import ExporterThread, OutboxReader
from tracking.exporter.run_registry import RunRegistry
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox, read_lines
from tracking.tracking_uri import artifact_location, default_tracking_uri


class AnswerError(Exception):
    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.error_code = code


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("(psycopg2.errors.ReadOnlySqlTransaction) cannot execute INSERT in a read-only transaction", False),
        ("QueuePool limit of size 5 overflow 10 reached, connection timed out", False),
        ("(sqlite3.IntegrityError) UNIQUE constraint failed: inputs", False),
        ("(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(200)", True),
        ("(pymysql.err.DataError) (1406, \"Data too long for column 'value'\")", True),
        ("A string literal cannot contain NUL (0x00) characters.", True),
    ],
)
def test_only_a_fault_of_what_was_sent_is_a_refusal(words: str, refused: bool) -> None:
    assert isinstance(translate(AnswerError("BAD_REQUEST", words), words), RefusedError) == refused


def lines_of(backend: Backend, events: list[Event]) -> OutboxReader:
    """Put events into the outbox; return what sends them."""
    outbox = Outbox(backend.study().outbox)
    for event in events:
        outbox.append(event)
    outbox.close()
    return OutboxReader(backend.study(), default_tracking_uri(backend.layout, backend.uri))


def test_a_fault_that_passes_costs_nothing(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    drain = lines_of(database, [script.start(), script.begin(0)])
    drain.run()
    outbox = Outbox(database.study().outbox)
    for event in (script.report(0, 1), script.report(0, 2), script.finish(0)):
        outbox.append(event)
    outbox.close()
    from mlflow.tracking import MlflowClient

    def refuse(*args: object, **named: object) -> None:
        raise AnswerError("BAD_REQUEST", "cannot execute INSERT in a read-only transaction")

    with monkeypatch.context() as failing:
        for call in ("log_batch", "set_terminated", "update_run", "log_inputs"):
            failing.setattr(MlflowClient, call, refuse)
        with pytest.raises(TrackingError, match="read-only"):
            drain.run()
    assert drain.pending() == 3
    drain.run()
    drain.close()
    run = database.runs()["trial 0000"]
    assert run.status == "FINISHED"
    assert database.history(run, "train_loss") == [(1, 1.0), (2, 0.5)]


def test_of_what_is_refused_all_the_rest_is_there(backend: Backend) -> None:
    play(backend.open(), [Script().start(), Script().begin(0)])
    client, run = backend.client(), backend.runs()["trial 0000"]
    client.log_batch(run.id, Batch(params={"p": "0"}))
    points = [Point("loss", float(step), 1000 + step, step) for step in range(2500)]
    with pytest.raises(RefusedError, match="p"):
        client.log_batch(run.id, Batch(points, {"a": "1", "p": "0.0", "z": "2"}, {"tag": "there"}))
    again = backend.runs()["trial 0000"]
    assert {key: again.params[key] for key in ("a", "p", "z")} == {"a": "1", "p": "0", "z": "2"}
    assert again.tags["tag"] == "there"
    assert len(backend.history(again, "loss")) == 2500


def test_what_comes_before_the_study_and_its_trials_is_left_out(
    database: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    early, whole = script.end(), [script.start(), script.begin(0), script.report(0, 1), script.finish(0, epochs=1)]
    stranger = script.report(7, 1)
    drain = lines_of(database, [early, *whole, stranger, script.finish(7, epochs=1), script.end()])
    drain.run()
    assert drain.pending() == 0
    drain.close()
    assert caplog.text.count("is left out") == 2
    assert "the beginning of the study is not there" in caplog.text
    assert "the beginning of trial 7 is not there" in caplog.text
    runs = database.runs()
    assert {name: run.status for name, run in runs.items()} == dict.fromkeys(
        ["faces", "trial 0000", "trial 0007"], "FINISHED"
    )
    assert database.history(runs["trial 0000"], "train_loss") == [(1, 1.0)]


def test_to_lose_the_same_again_and_again_is_no_progress(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    drain = lines_of(database, list(Script().whole()))
    monkeypatch.setattr(drain, "_chunk_bytes", 1)

    def lose(client: TrackingClient, run_id: str, batch: Batch) -> None:
        if batch.points:
            raise LostError("there is no such run")

    monkeypatch.setattr(TrackingClient, "log_batch", lose)
    with pytest.raises(LostError):
        drain.run()
    drain.close()
    assert drain.sent == 0


@pytest.mark.parametrize("name", ["MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
def test_settings_that_would_break_a_promise_are_overruled(
    database: Backend, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    law = {"MLFLOW_ENABLE_ASYNC_LOGGING": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}[name]
    monkeypatch.setenv(name, "true" if law == "false" else "5")
    database.client()
    assert os.environ[name] == law


def test_what_was_sent_is_there_whatever_the_user_says_of_asynchronous_logging(
    database: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(database.open(), [Script().start(), Script().begin(0)])
    client, run = database.client(), database.runs()["trial 0000"]
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    asked: list[dict[str, Any]] = []
    send = type(client.api).log_batch
    monkeypatch.setattr(
        type(client.api), "log_batch", lambda *args, **named: asked.append(named) or send(*args, **named)
    )
    client.log_batch(run.id, Batch([Point("loss", 0.5, 1000, 1)]))
    assert asked == [{"synchronous": True}]


def test_a_full_disk_ends_a_sync_with_a_word(database: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    lines_of(database, list(Script().whole()))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(drain_module, "save_position", full)
    with pytest.raises(TrackingError, match=r"must be writable, but: .*No space left on device; mend this"):
        sync(database.layout, database.study())


def test_a_study_that_was_deleted_stays_deleted(tmp_path: Path) -> None:
    registry = RunRegistry(None, tmp_path / "gone" / "runs.json", "http://host")  # type: ignore[arg-type]
    registry._parent = object()  # type: ignore[assignment]
    registry.save()
    assert not (tmp_path / "gone").exists()


class Idle:
    """A drain with nothing to send."""

    sent = answers = 0

    def run(self, is_cancelled: object) -> int:
        return 0

    def close(self) -> None:
        pass


def test_a_closing_between_a_look_and_a_rest_is_not_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, attempt = ExporterThread(Idle(), "somewhere"), ExporterThread._attempt  # type: ignore[arg-type]

    def late(self: ExporterThread) -> bool:
        if not self._closing.is_set():  # close() comes just after the thread looked
            self._closing.set()
            self._wake.set()
        return attempt(self)

    monkeypatch.setattr(ExporterThread, "_attempt", late)
    writer.start()
    assert writer.close(20.0)


def test_only_a_folder_that_is_nobodys_is_removed(tmp_path: Path) -> None:
    study = Layout(tmp_path).study("faces")
    study.root.mkdir(parents=True)
    held, over = threading.Event(), threading.Event()

    def drive() -> None:
        with driver_lock(study):
            held.set()
            over.wait(60)

    other = threading.Thread(target=drive)
    other.start()
    held.wait(60)
    remove_if_nothing_began(study)
    assert study.lock.exists()
    over.set()
    other.join()
    remove_if_nothing_began(study)
    assert not study.root.exists()


def test_a_database_has_room_for_the_place_of_every_run(tmp_path: Path) -> None:
    uri, layout = "postgresql+psycopg2://host/db", Layout(Path("/data"))
    assert artifact_location(uri, "faces", layout) == "file:///data/mlartifacts/faces"
    long = [artifact_location(uri, name, layout) for name in ("日本語の顔の研究二号", "日本語の顔の研究三号")]
    assert all(stored is not None and len(stored) + len(f"/{'0' * 32}/artifacts") <= 200 for stored in long)
    assert len(set(long)) == 2
    with pytest.raises(TrackingError, match="may have 140 characters"):
        artifact_location(uri, "faces", Layout(Path("/data/" + "x" * 150)))
    assert artifact_location("sqlite:////data/mlflow.db", "日" * 40) is not None


def test_a_sqlite_file_is_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout = Layout(tmp_path)
    assert default_tracking_uri(layout, "sqlite:///own.db?timeout=9") == f"sqlite:///{tmp_path}/own.db?timeout=9"
    assert default_tracking_uri(layout, "sqlite:////own.db") == "sqlite:////own.db"


def test_line_numbers_of_what_is_left_out_are_those_of_the_outbox(
    database: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    drain = lines_of(database, [script.start(), script.report(3, 1)])
    with caplog.at_level(logging.WARNING):
        drain.run()
    drain.close()
    assert "line 2 of the outbox" in caplog.text
    assert [line.number for line in read_lines(database.study().outbox)] == [1, 2]
