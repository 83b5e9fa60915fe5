"""Any server comes to the same content by `study sync`: the same one, a wiped one, another one, and back again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from recorders import Script, play
from tracking_backends import Backend
from tracking_snapshot import snapshot
from tracking_story import STATUSES, write_story

from study.paths import Layout
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox, Position, load_position, save_position
from tracking.run_ids import Runs, load_runs, load_runs_at, point_to, save_runs, tracking_uri_of
from tracking.tracking_uri import own_tracking_uri
from tracking.ui.server import UiServer


def _at(backend: Backend, uri: str | None) -> dict[str, Any]:
    """Tell what a server has of the study, but for the links in it."""
    backend.uri = uri
    return snapshot(backend)


@pytest.mark.parametrize("way", ["from the job to the server", "from the server to the laptop"])
def test_a_study_moves_to_another_server_and_back(
    remote: Backend, server: UiServer, empty_database: Path, way: str
) -> None:
    shutil.copy(empty_database, remote.layout.mlflow_db)
    local, there = own_tracking_uri(remote.layout), server.address
    first, second = (local, there) if way.endswith("the server") else (there, local)
    events = write_story(remote)
    study = remote.study()
    assert sync(remote.layout, study, first).sent == len(events)
    before = _at(remote, first)
    assert {name: run["status"] for name, run in before.items() if name != "experiment"} == STATUSES
    assert sync(remote.layout, study, second).sent == len(events)
    assert _at(remote, second) == before
    assert (load_runs(study.runs) or Runs("")).tracking_uri == second
    assert tracking_uri_of(study, None) == second, "a resume goes on where the study was sent last"
    ids = {run.name: run.id for run in remote.runs().values()}
    assert load_runs_at(study.runs, second).trials == {0: ids["trial 0000"], 2: ids["trial 0002"]}
    outbox = Outbox(study.outbox)
    outbox.append(Script(now_s=2e9).start(resumed=True, finished=2))
    outbox.append(Script(now_s=2e9 + 9).end())
    outbox.close()
    assert sync(remote.layout, study, first).sent == 2, "the first server's position was not lost"
    assert sync(remote.layout, study, second).sent == 2, "and that of the second is its own"
    assert _at(remote, first) == _at(remote, second)
    assert set(load_runs_at(study.runs, first).trials) == {0, 2}
    assert sync(remote.layout, study, first).sent == 0
    assert tracking_uri_of(study, None) == first


def test_a_database_that_is_made_anew_gets_everything_again(database: Backend, empty_database: Path) -> None:
    events = write_story(database)
    assert sync(database.layout, database.study()).sent == len(events)
    before = snapshot(database)
    shutil.copy(empty_database, database.layout.mlflow_db)
    shutil.rmtree(database.layout.mlflow_artifacts)
    assert sync(database.layout, database.study()).sent == len(events)
    assert snapshot(database) == before


def test_an_experiment_that_is_deleted_for_good_is_made_again(database: Backend) -> None:
    events = write_story(database)
    sync(database.layout, database.study())
    before = snapshot(database)
    with sqlite3.connect(database.layout.mlflow_db) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table != "alembic_version":
                connection.execute(f"DELETE FROM {table} WHERE 1")
    assert sync(database.layout, database.study()).sent == len(events)
    assert snapshot(database) == before


def test_a_study_whose_server_never_answered_still_belongs_to_it(tmp_path: Path) -> None:
    study = Layout(tmp_path).study("faces")
    study.root.mkdir(parents=True)
    point_to(study.runs, "http://away:5000")
    assert tracking_uri_of(study, None) == "http://away:5000"
    save_runs(study.runs, Runs("sqlite:////x.db", "1", "a", {0: "b"}))
    point_to(study.runs, "http://away:5000")
    assert load_runs(study.runs) == Runs("http://away:5000")
    point_to(study.runs, "sqlite:////x.db")
    assert load_runs(study.runs) == Runs("sqlite:////x.db", "1", "a", {0: "b"})


def test_every_server_has_a_position_of_its_own(tmp_path: Path) -> None:
    outbox, file = Outbox(tmp_path / "outbox.jsonl"), tmp_path / "position.json"
    script, ends = Script(), []
    for event in (script.start(), script.begin(0)):
        outbox.append(event)
        ends.append((tmp_path / "outbox.jsonl").stat().st_size)
    outbox.close()
    positions = [Position("a", 1, ends[0]), Position("b", 2, ends[1])]
    for position in positions:
        save_position(file, position)
    assert [load_position(file, name, tmp_path / "outbox.jsonl") for name in "abc"] == [*positions, Position("c")]
    save_position(file, Position("a", 2, ends[1]))
    assert len(json.loads(file.read_text())["elsewhere"]) == 1


def test_two_drivers_of_one_name_at_one_moment_keep_apart(backend: Backend, tmp_path: Path) -> None:
    import threading

    if backend.uri is None:
        backend.layout.mlflow_db.unlink()  # both make it
        uri = own_tracking_uri(backend.layout)
    else:
        uri = backend.uri
    drivers = [Backend(backend.kind, Layout(tmp_path / f"results {number}"), uri) for number in range(2)]
    gate = threading.Barrier(2)

    def drive(number: int) -> None:
        gate.wait()
        play(drivers[number].open(), Script(study_id=f"id-{number}").whole())

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = drivers[0].client()
    experiment = client.find_experiment("faces")
    assert experiment is not None
    runs = list(client.search([experiment.id], ""))
    parents = {run.tags["study.key"]: run for run in runs if run.tags["study.kind"] == "study"}
    assert sorted(parents) == ["id-0", "id-1"]
    assert {run.status for run in parents.values()} == {"FINISHED"}
    for key, parent in parents.items():
        children = [run for run in runs if run.tags.get("mlflow.parentRunId") == parent.id]
        assert sorted(run.tags["study.key"] for run in children) == [f"{key}/{number}" for number in range(4)]
        assert sorted(run.status for run in children) == ["FAILED", "FINISHED", "FINISHED", "KILLED"]
