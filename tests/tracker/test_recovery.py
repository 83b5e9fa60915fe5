"""Outages, kills and replays: nothing is lost, nothing is there twice, nothing stays RUNNING."""

from __future__ import annotations

import os
import socket
import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest
from recorders import Script, play, write_checkpoint
from tracking_backends import Backend, Forwarder, until

from study.errors import TrackingError
from study.events import Event, StudyEnded
from study.records import StudyOutcome, TrialState
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Position, load_position, read_lines, save_position
from tracking.tracking_uri import default_tracking_uri, mask_uri
from tracking.ui.server import UiServer


def _content(backend: Backend) -> dict[str, object]:
    """Return everything a replay could spoil; times apart, they are the events' own."""
    runs = backend.runs()
    return {name: (run, {metric: backend.history(run, metric) for metric in run.metrics}) for name, run in runs.items()}


def _acknowledged(backend: Backend) -> Position:
    uri = mask_uri(default_tracking_uri(backend.layout, backend.uri))
    return load_position(backend.study().outbox_position, uri, backend.study().outbox)


def test_replaying_everything_changes_nothing(backend: Backend, capfd: pytest.CaptureFixture[str]) -> None:
    play(backend.open(), Script().whole())
    assert capfd.readouterr() == ("", ""), "MLflow must not print on the screen"
    before = _content(backend)
    report = sync(backend.layout, backend.study(), backend.uri, everything=True)
    assert report.sent == 18
    assert _content(backend) == before
    assert sync(backend.layout, backend.study(), backend.uri).sent == 0


def test_crash_between_sending_and_acknowledging_makes_no_second_run(database: Backend) -> None:
    play(database.open(), Script().whole())
    before = _content(database)
    lines = list(read_lines(database.study().outbox))
    for last in (lines[0], lines[3], lines[9], lines[14]):
        position = replace(_acknowledged(database), number=last.number, offset=last.end)
        save_position(database.study().outbox_position, position)
        assert sync(database.layout, database.study()).sent == len(lines) - last.number
        assert _content(database) == before
    database.study().outbox_position.unlink()
    database.study().runs.unlink()
    sync(database.layout, database.study())
    assert _content(database) == before


def test_interruption_leaves_nothing_running_and_resume_reuses_the_runs(backend: Backend) -> None:
    script = Script()
    started = [script.start(), script.begin(0), script.begin(1), script.report(1, 1)]
    play(backend.open(), [*started, script.finish(0), script.end(StudyOutcome.INTERRUPTED)])
    runs = backend.runs()
    assert {name: run.status for name, run in runs.items()} == {
        "faces": "KILLED", "trial 0000": "FINISHED", "trial 0001": "KILLED",
    }  # fmt: skip
    assert runs["faces"].tags["study.state"] == "interrupted"
    assert runs["trial 0001"].tags["study.state"] == "INTERRUPTED"
    ids = {name: run.id for name, run in runs.items()}

    recorder = backend.open()
    recorder.record(script.start(resumed=True, finished=1))
    recorder.record(script.begin(1, attempt=2))
    until(lambda: backend.runs()["trial 0001"].tags["study.state"] == "RUNNING")
    running = backend.runs()
    assert running["faces"].status == "RUNNING"
    assert running["trial 0001"].status == "RUNNING"
    assert running["trial 0001"].tags["study.attempts"] == "2"
    play(recorder, [script.report(1, 2), script.finish(1), script.end()])
    after = backend.runs()
    assert {name: run.id for name, run in after.items()} == ids
    assert {run.status for run in after.values()} == {"FINISHED"}
    assert after["faces"].metrics["trials.complete"] == 2


def test_killed_driver_is_tidied_up_by_the_next_start(database: Backend) -> None:
    script = Script()
    recorder = database.open()
    for event in (script.start(), script.begin(0), script.begin(1)):
        recorder.record(event)
    until(lambda: _acknowledged(database).number == 3)
    recorder.close()
    assert {run.status for run in database.runs().values()} == {"RUNNING"}
    recorder = database.open()
    play(recorder, [script.start(resumed=True), script.begin(1, attempt=2)])
    statuses = {name: run.status for name, run in database.runs().items()}
    assert statuses == {"faces": "RUNNING", "trial 0000": "KILLED", "trial 0001": "RUNNING"}


def test_more_trials_on_resume_keep_the_param_and_move_the_tag(database: Backend) -> None:
    script = Script(planned=4)
    play(database.open(), [script.start(), script.end(StudyOutcome.INTERRUPTED)])
    script.planned = 9
    play(database.open(), [script.start(resumed=True), script.end()])
    parent = database.runs()["faces"]
    assert (parent.params["study.trials"], parent.tags["study.planned"]) == ("4", "9")


def test_failed_study_is_failed(database: Backend) -> None:
    script = Script()
    play(database.open(), [script.start(), script.begin(0), script.end(StudyOutcome.FAILED)])
    assert {name: run.status for name, run in database.runs().items()} == {"faces": "FAILED", "trial 0000": "KILLED"}


def test_trials_only_the_storage_knows_are_caught_up(database: Backend) -> None:
    script = Script()
    recorder = database.open()
    for event in (script.start(), script.begin(0), script.begin(1), script.finish(0)):
        recorder.record(event)
    ended = [script.finish(n, TrialState.PRUNED).record for n in (0, 1)]
    assert recorder.catch_up([*ended, script.record(2)], script.tick()) == 1
    play(recorder, [script.end()])
    runs = database.runs()
    assert sorted(runs) == ["faces", "trial 0000", "trial 0001"]
    assert (runs["trial 0000"].status, runs["trial 0001"].status) == ("FINISHED", "KILLED")
    assert runs["trial 0001"].tags["study.state"] == "PRUNED"


def test_one_process_at_a_time_sends(database: Backend) -> None:
    recorder = database.open()
    recorder.record(Script().start())
    until(lambda: _acknowledged(database).number == 1)
    with pytest.raises(TrackingError, match="One process at a time"):
        sync(database.layout, database.study())
    recorder.close()
    assert sync(database.layout, database.study()).sent == 0


def test_sync_without_an_outbox_is_refused(database: Backend) -> None:
    with pytest.raises(TrackingError, match="must have an outbox"):
        sync(database.layout, database.study())


def test_checkpoint_is_linked_not_copied_and_a_missing_one_is_said(
    database: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = write_checkpoint(tmp_path / "kept")
    script = Script()
    ends = [script.finish(0, checkpoint=kept), script.finish(1, checkpoint=tmp_path / "gone")]
    play(database.open(), [script.start(), *ends])
    runs = database.runs()
    stored = database.layout.mlflow_artifacts / "faces" / runs["trial 0000"].id / "artifacts/checkpoint"
    assert os.path.samefile(stored / "validation.npz", kept / "validation.npz")
    assert not (stored / "model.safetensors").exists(), "a link would keep weights on the disk that the study deletes"
    assert runs["trial 0001"].status == "FINISHED"
    assert "gone is not there" in caplog.text


def test_server_that_is_away_and_comes_back_gets_everything(
    remote: Backend, server: UiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "tracking")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    remote.uri = f"http://127.0.0.1:{port}"
    events: list[Event] = list(Script().whole())
    recorder = remote.open()
    taken_s = []
    for event in events:
        begin = time.perf_counter()
        recorder.record(event)
        taken_s.append(time.perf_counter() - begin)
    assert isinstance(events[-1], StudyEnded)
    assert statistics.median(taken_s) < 1.0, "it waits for the server"
    until(lambda: "is away" in caplog.text)
    forwarder = Forwarder(port, int(server.address.rpartition(":")[2]))
    until(lambda: "is back" in caplog.text)
    recorder.close()
    remote.uri = server.address
    forwarder.close()
    assert {name: run.status for name, run in remote.runs().items()} == {
        "faces": "FINISHED", "trial 0000": "FINISHED", "trial 0001": "KILLED",
        "trial 0002": "FAILED", "trial 0003": "FINISHED",
    }  # fmt: skip
    assert remote.history(remote.runs()["trial 0003"], "train_loss") == [(1, 1.0), (2, 0.5)]
    assert caplog.text.count("is away") == caplog.text.count("is back") == 1


def test_close_does_not_wait_for_a_dead_server(database: Backend, caplog: pytest.LogCaptureFixture) -> None:
    database.uri = "http://127.0.0.1:9"
    recorder = database.open()
    begin = time.perf_counter()
    play(recorder, Script().whole())
    assert time.perf_counter() - begin < 50
    assert "18 events could not be sent" in caplog.text
    assert f"`study sync faces --results {database.layout.results}` sends them" in caplog.text
    database.uri = None
    assert sync(database.layout, database.study()).sent == 18
    assert database.runs()["faces"].status == "FINISHED"
