"""PostgreSQL behind MLflow's server, or as the tracking database itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_kit import Postgres, find_binaries, postgres
from recorders import Script
from tracking_backends import Backend
from tracking_snapshot import snapshot
from tracking_story import STATUSES, write_story

from study.errors import TrackingError
from study.paths import Layout
from study.records import TrialState
from tracking.client.database import _revisions
from tracking.client.errors import DeniedError
from tracking.client.preflight import preflight
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox
from tracking.ui.server import UiServer, serve

BINARIES = find_binaries()
pytestmark = [
    pytest.mark.skipif(BINARIES is None, reason="PostgreSQL is not installed: apt-get install postgresql"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]


@pytest.fixture(scope="module")
def running() -> Iterator[Postgres]:
    assert BINARIES is not None
    with postgres(BINARIES) as database:
        yield database


@pytest.fixture(scope="module")
def served(running: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    """MLflow's server on the database, which it makes."""
    server = serve(running.uri(), tmp_path_factory.mktemp("artifacts"), port=0)
    yield server
    server.stop()


def _at(layout: Layout, uri: str) -> Backend:

    return Backend("postgres", layout, uri)


def test_a_study_is_the_same_behind_postgres_as_in_sqlite(served: UiServer, database: Backend) -> None:
    events = write_story(database)
    sync(database.layout, database.study())
    assert sync(database.layout, database.study(), served.address).sent == len(events)
    assert snapshot(_at(database.layout, served.address)) == snapshot(database)
    assert sync(database.layout, database.study(), served.address, everything=True).sent == len(events)
    assert snapshot(_at(database.layout, served.address)) == snapshot(database)


def test_the_database_itself_is_a_tracking_uri_and_its_password_is_nowhere(
    served: UiServer, running: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout = Layout(tmp_path / "results")
    backend = replace(_at(layout, running.uri()), name="direct")
    write_story(backend, Script("direct", study_id="direct", planned=2))
    assert preflight(layout, running.uri(), "direct") is None
    report = sync(layout, backend.study(), running.uri())
    assert sorted(run.status for run in backend.runs().values()) == sorted(STATUSES.values())
    assert [path.name for path in tmp_path.iterdir()] == ["results"], "artifacts lie in the results folder"
    with pytest.raises(DeniedError) as denied:
        sync(layout, backend.study(), running.uri(password="wr0ng"))
    said = preflight(layout, running.uri(password="wr0ng"), "direct")
    assert said is not None
    assert "refuses the credentials" in said
    written = [file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    for text in (str(report), str(denied.value), said, *written):
        assert "s3cret" not in text
        assert "wr0ng" not in text
    assert "postgresql+psycopg2://study:***@127.0.0.1" in str(denied.value)


def test_what_postgres_cannot_keep_is_kept_as_an_escape(served: UiServer, tmp_path: Path) -> None:
    backend = _at(Layout(tmp_path), served.address)
    backend.name = "nul \u202eand 🙂"
    script, outbox = Script(backend.name, study_id="nul"), Outbox(backend.study().outbox)
    record = replace(script.record(0), config={"odd": "a\0b\ud800c", "emoji": "🙂"})
    begun = replace(script.begin(0), record=record)
    failed = script.finish(0, TrialState.FAILED)
    failed = replace(failed, record=replace(failed.record, config=record.config, error="Traceback: \0 \udcff"))
    for event in (script.start(), begun, failed, script.end()):
        outbox.append(event)
    outbox.close()
    sync(backend.layout, backend.study(), served.address)
    run = backend.runs()["trial 0000"]
    assert (run.params["odd"], run.params["emoji"]) == (r"a\x00b\ud800c", "🙂")
    assert r"\x00 \udcff" in backend.artifact(run, "error.txt").read_text()


def test_two_drivers_of_one_name_at_one_moment(served: UiServer, tmp_path: Path) -> None:
    backends = [replace(_at(Layout(tmp_path / str(n)), served.address), name="both") for n in range(2)]
    for number, backend in enumerate(backends):
        write_story(backend, Script("both", study_id=f"both-{number}", planned=2))
    gate = threading.Barrier(2)

    def drive(backend: Backend) -> None:
        gate.wait()
        sync(backend.layout, backend.study(), served.address)

    threads = [threading.Thread(target=drive, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = backends[0].client()
    experiment = client.find_experiment("both")
    assert experiment is not None
    keys = sorted(run.tags["study.key"] for run in client.search([experiment.id], ""))
    assert keys == ["both-0", "both-0/0", "both-0/2", "both-1", "both-1/0", "both-1/2"]


def test_a_database_that_cannot_be_tracked_to_is_an_error(served: UiServer, running: Postgres, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(TrackingError, match="must exist"):
        preflight(layout, running.uri("nowhere"), "faces")
    running.run("CREATE DATABASE empty")
    assert preflight(layout, running.uri("empty"), "faces") is None
    known, newest = _revisions()
    running.run("CREATE DATABASE other")
    running.run("CREATE TABLE experiments (name TEXT, experiment_id INT, lifecycle_stage TEXT)", "other")
    running.run("CREATE TABLE alembic_version (version_num TEXT)", "other")
    for revision, words in ((min(known - {newest}), "mlflow db upgrade"), ("ffff", "so newer"), (newest, None)):
        running.run(f"DELETE FROM alembic_version; INSERT INTO alembic_version VALUES ('{revision}')", "other")
        if words is None:
            assert preflight(layout, running.uri("other"), "faces") is None
            continue
        with pytest.raises(TrackingError, match=words) as caught:
            preflight(layout, running.uri("other"), "faces")
        assert "study:***@127.0.0.1" in str(caught.value)
    with pytest.raises(TrackingError, match="is read-only"):
        preflight(layout, f"{running.uri('other')}?options=-cdefault_transaction_read_only%3Don", "faces")
    running.run("INSERT INTO experiments VALUES ('faces', 3, 'deleted')", "other")
    with pytest.raises(TrackingError, match="restore --experiment-id 3"):
        preflight(layout, running.uri("other"), "faces")
