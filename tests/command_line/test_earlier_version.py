"""A results folder that an earlier version wrote goes on working: listed, compared, resumed, exported."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ONLY_WEIGHTS, study_json, study_stdout
from earlier_results import OLD_PLACE, unpack

pytestmark = pytest.mark.usefixtures("formats_checked_here")
# Version 0.1.0 wrote four trials of a frozen backbone whose weights are mostly zeros; its driver was killed when two
# trials were complete. It stored absolute paths, so that the folder must lie where it was made.
HOME = OLD_PLACE.parent
FINISHED = {0: 0.6851851851851852, 1: 0.6518518518518519}


@pytest.fixture(scope="module")
def results() -> Iterator[Path]:
    with HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests on this machine unpacks to the same place
        shutil.rmtree(HOME, ignore_errors=True)
        yield unpack(HOME.parent)
        shutil.rmtree(HOME)


def test_what_it_finished_is_read_as_it_was(results: Path) -> None:
    (listed,) = study_json("list", "--results", results)
    assert (listed["name"], listed["state"], listed["planned"]) == ("before", "interrupted", 4)
    rows = study_json("compare", "before", "--results", results)
    assert {row["trial"]: row["value"] for row in rows if row["state"] == "COMPLETE"} == FINISHED
    best = study_json("best", "before", "--results", results)
    assert (best["trial"], best["epoch"], best["params"]["optimizer"]) == (0, 2, "adam")
    assert Path(best["checkpoint"], "model.safetensors").exists()


def test_it_is_resumed_and_exported(results: Path, tmp_path: Path, shared_cluster: None) -> None:
    study_stdout("resume", "before", "--results", results)
    rows = study_json("compare", "before", "--trials", "--results", results)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 4
    assert {row["trial"]: row["value"] for row in rows if row["trial"] in FINISHED} == FINISHED

    with sqlite3.connect(results / "mlflow.db") as database:
        runs = database.execute("SELECT name, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
    assert len(runs) == 5, "a trial that was resumed keeps its run"
    assert {status for _, status in runs} == {"FINISHED"}

    done = study_stdout("export-best", *ONLY_WEIGHTS, "before", "--results", results, "--out", tmp_path / "bundle")
    assert "largest difference 0\n" in done
    assert {path.name for path in (tmp_path / "bundle").iterdir()} >= {"model.safetensors", "config.json"}
