"""`study sync` after the driver was killed: no run stays RUNNING, and a resume goes on as if nobody had synced."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import study, study_json
from engine_fakes import Listener, drive
from played_study import play_study

from cli.commands.sync import end_if_left_open
from study.events import StudyEnded
from study.paths import Layout, StudyLayout
from study.records import StudyOutcome, TrialState
from study.storage.lock import driver_lock
from tracking.client.client import TrackingClient
from tracking.outbox.outbox import Outbox, read_lines
from tracking.tracking_uri import default_tracking_uri


@pytest.fixture(autouse=True)
def database(tmp_path: Path, empty_database: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")


def ends(layout: StudyLayout) -> list[StudyEnded]:
    return [line.event for line in read_lines(layout.outbox) if isinstance(line.event, StudyEnded)]


def states(results: Path) -> dict[str, list[str]]:
    """Return the names of the runs by status."""
    client = TrackingClient(default_tracking_uri(Layout(results), None))
    names: dict[str, list[str]] = {}
    for run in client.search([experiment.id for experiment in client.experiments()], ""):
        names.setdefault(run.status, []).append(run.name)
    return names


def test_the_runs_of_a_killed_study_end(tmp_path: Path) -> None:
    layout = play_study(tmp_path, trials=6, epochs=4, pages=False, until=14)
    before = states(tmp_path)
    assert "masks" in before["RUNNING"]
    assert len(before["RUNNING"]) > 2
    killed_at_s = layout.outbox.stat().st_mtime

    assert study_json("sync", "masks", "--results", tmp_path)["was_left_open"]
    after = states(tmp_path)
    assert "RUNNING" not in after
    assert set(before["RUNNING"]) <= set(after["KILLED"])
    (end,) = ends(layout)
    assert (end.outcome, end.at_s) == (StudyOutcome.INTERRUPTED, killed_at_s)
    assert end.counts[TrialState.RUNNING.value] == len(before["RUNNING"]) - 1

    again = study("sync", "masks", "--results", tmp_path)
    assert again.stdout == f"masks: sent 0 events to {default_tracking_uri(Layout(tmp_path), None)}\n"
    assert len(ends(layout)) == 1
    drive(layout, Listener())  # the trials go on


def test_a_study_that_somebody_drives_or_that_ended_is_left_alone(tmp_path: Path) -> None:
    layout = play_study(tmp_path, trials=2, epochs=2, pages=False, until=2)
    with driver_lock(layout):
        assert not end_if_left_open(layout)
    assert not ends(layout)
    assert end_if_left_open(layout)
    assert not end_if_left_open(layout)
    assert len(ends(layout)) == 1


def test_what_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    layout = play_study(tmp_path, trials=2, epochs=2, pages=False, until=2)
    layout.journal.write_text("no journal\n")
    assert not end_if_left_open(layout)
    assert not ends(layout)
    empty = Layout(tmp_path).study("empty")
    Outbox(empty.outbox).close()
    assert not end_if_left_open(empty)
