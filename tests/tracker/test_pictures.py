"""Pages of figures on their way to MLflow: through the outbox, once, and gone ones cost nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from recorders import Script, play
from tracking_backends import Backend

from study.events import PicturesDrawn
from tracking.client.client import TrackingClient
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox, read_lines
from tracking.outbox.study_state import fold


def _write(backend: Backend, trial: int, text: str) -> Path:
    path = backend.study().trial_pictures(trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _artifacts(backend: Backend, trial: int) -> list[str]:
    import mlflow

    from tracking.tracking_uri import default_tracking_uri

    client = mlflow.MlflowClient(default_tracking_uri(backend.layout, backend.uri))
    artifacts = client.list_artifacts(backend.runs()[f"trial {trial:04d}"].id)
    return [artifact.path for artifact in artifacts if artifact.path not in ("code.diff", "config.json")]


def _told(script: Script, path: Path, trial: int = 0) -> list[object]:
    drawn = PicturesDrawn(script.name, trial, str(path), script.tick())
    return [script.start(), script.begin(trial), script.finish(trial), script.end(), drawn]


def test_page_becomes_an_artifact_of_its_trial_and_replaying_twice_changes_nothing(backend: Backend) -> None:
    page = _write(backend, 0, "<p>Größe</p>")
    play(backend.open(), _told(Script(), page))  # type: ignore[arg-type]
    run = backend.runs()["trial 0000"]
    assert (run.status, run.tags["study.state"]) == ("FINISHED", "COMPLETE")
    assert _artifacts(backend, 0) == ["pictures.html"]
    for _ in range(2):
        assert sync(backend.layout, backend.study(), backend.uri, everything=True).sent == 5
        assert _artifacts(backend, 0) == ["pictures.html"]
        assert backend.runs()["trial 0000"] == run
        assert backend.artifact(run, "pictures.html").read_text() == "<p>Größe</p>"


def test_a_page_that_is_gone_is_said_and_the_rest_is_sent(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    script = Script()
    gone = PicturesDrawn("faces", 0, str(backend.study().trial_pictures(0)), script.tick())
    play(backend.open(), [script.start(), script.begin(0), script.finish(0), gone, script.begin(1), script.end()])
    assert "pictures.html is gone" in caplog.text
    assert _artifacts(backend, 0) == []
    assert backend.runs()["trial 0001"].status == "KILLED"
    assert sync(backend.layout, backend.study(), backend.uri).sent == 0


def test_a_page_waits_on_disk_while_the_server_is_away(database: Backend) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{taken.getsockname()[1]}"
    page, outbox = _write(database, 0, "page"), Outbox(database.study().outbox)
    for event in _told(Script(), page):
        outbox.append(event)  # type: ignore[arg-type]
    outbox.close()
    from study.errors import TrackingError

    with pytest.raises(TrackingError):
        sync(database.layout, database.study(), away)
    assert sync(database.layout, database.study(), None).sent == 5
    assert _artifacts(database, 0) == ["pictures.html"]


def test_a_local_artifact_shares_the_disk_with_the_page(database: Backend) -> None:
    page = _write(database, 0, "page")
    play(database.open(), _told(Script(), page))  # type: ignore[arg-type]
    run = database.runs()["trial 0000"]
    from tracking.tracking_uri import local_path

    stored = local_path(run.artifact_uri)
    assert stored is not None
    assert os.path.samefile(stored / "pictures.html", page)


def test_the_page_of_all_trials_becomes_the_studys_own_artifact_and_a_newer_one_takes_its_place(
    backend: Backend,
) -> None:
    script, pages = Script(), (backend.study().learning_curves, backend.study().report)
    pages[0].parent.mkdir(parents=True, exist_ok=True)
    for text in ("first", "second"):
        for page in pages:
            page.write_text(f"{text} {page.name}")
        drawn = [PicturesDrawn(script.name, None, str(page), script.tick()) for page in pages]
        play(backend.open(), [script.start(resumed=text == "second"), script.end(), *drawn])
        for page in pages:
            assert backend.artifact(backend.runs()["faces"], page.name).read_text() == f"{text} {page.name}"
    assert fold(read_lines(backend.study().outbox)).drawn == {None}


def test_the_event_comes_back_equal_from_the_outbox(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.jsonl")
    event = PicturesDrawn("Größe 'x'", 3, "/a b/ü.html", 1.5)
    outbox.append(event)
    outbox.close()
    (line,) = read_lines(tmp_path / "outbox.jsonl")
    assert line.event == event
    assert fold([line, line]).drawn == {3}
    assert fold([line]).copy().drawn == {3}


def test_a_page_whose_event_was_lost_is_recorded_on_resume(database: Backend) -> None:
    script = Script()
    known, lost, undrawn = (script.finish(trial) for trial in range(3))
    _write(database, 1, "page")
    told = PicturesDrawn("faces", 0, str(_write(database, 0, "page")), script.tick())
    play(database.open(), [script.start(), known, lost, undrawn, told])
    recorder = database.open()
    recorder.record(script.start(resumed=True, finished=3))
    assert recorder.catch_up([known.record, lost.record, undrawn.record], script.tick()) == 0
    recorder.close()
    events = [line.event for line in read_lines(database.study().outbox)]
    assert [event.trial for event in events if isinstance(event, PicturesDrawn)] == [0, 1]
    assert [_artifacts(database, trial) for trial in range(3)] == [["pictures.html"], ["pictures.html"], []]


def test_client_uploads_under_the_files_own_name(remote: Backend, tmp_path: Path) -> None:
    play(remote.open(), [Script().start(), Script().begin(0)])
    file = tmp_path / "pictures.html"
    file.write_text("page")
    run = remote.runs()["trial 0000"]
    TrackingClient(remote.uri or "").log_file(run.id, file)
    assert remote.artifact(run, "pictures.html").read_text() == "page"
