"""A results folder that was moved, copied or renamed goes on where it lies now, and nothing touches its old place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from commands import ONLY_WEIGHTS, study, study_error, study_json, study_stdout
from earlier_results import OLD_PLACE, STUDY, unpack

from study.paths import CARD, SCORES, WEIGHTS, Layout
from study.storage.reader import read_study
from study.storage.study_storage import StudyStorage
from tracking.run_ids import load_runs

pytestmark = pytest.mark.usefixtures("formats_checked_here")


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """An old results folder, whose files name the place where it was made, in another one."""
    return unpack(tmp_path)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_every_command_finds_what_is_in_the_folder(moved: Path, tmp_path: Path) -> None:
    (listed,) = study_json("list", "--results", moved)
    best = study_json("best", STUDY, "--results", moved)
    assert listed["name"] == best["study"] == STUDY
    assert Path(best["checkpoint"]) == moved / "studies" / STUDY / "trials" / "00000" / "epoch-0002"
    assert best["checkpoint_fault"] is None
    done = study("best", STUDY, "--path", "--results", moved)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{best['checkpoint']}\n", "")
    exported = study_json("export-best", *ONLY_WEIGHTS, STUDY, "--results", moved, "--out", tmp_path / "bundle")
    assert (exported["trial"], exported["max_score_difference"]) == (0, pytest.approx(0.0, abs=1e-3))
    assert study_json("show", f"{STUDY}/1", "--results", moved)["checkpoint"].startswith(str(moved))
    assert len(study_json("compare", STUDY, "--results", moved)) == 4


def test_a_study_that_lies_at_the_old_place_is_never_taken_for_it(moved: Path, tmp_path: Path) -> None:
    there = unpack(tmp_path / "other")
    weights = there / "studies" / STUDY / "trials" / "00000" / "epoch-0002" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    journal = moved / "studies" / STUDY / "ledger.journal"
    journal.write_text(journal.read_text().replace(str(OLD_PLACE), str(there)))
    before = files_of(there)
    study_json("export-best", *ONLY_WEIGHTS, STUDY, "--results", moved, "--out", tmp_path / "bundle")
    own = moved / "studies" / STUDY / "trials" / "00000" / "epoch-0002" / WEIGHTS
    assert (tmp_path / "bundle" / WEIGHTS).read_bytes() == own.read_bytes()
    assert files_of(there) == before


def test_a_copy_is_sent_to_its_own_database(moved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(moved, tmp_path / "copy"))
    for file in (copy / "studies" / STUDY).glob("*.json"):
        file.write_text(file.read_text().replace(str(OLD_PLACE), str(moved)))
    with sqlite3.connect(copy / "mlflow.db") as database:
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            (str(OLD_PLACE), str(moved)),
        )
        database.execute("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", (str(OLD_PLACE), str(moved)))
    before = files_of(moved)
    done = study_stdout("sync", STUDY, "--all", "--results", copy)
    assert f"{copy}/mlflow.db" in done
    assert files_of(moved) == before, "the original is as it was"
    with sqlite3.connect(copy / "mlflow.db") as database:
        places = [place for (place,) in database.execute("SELECT artifact_uri FROM runs")]
        models = [place for (place,) in database.execute("SELECT artifact_location FROM logged_models")]
        count = database.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()[0]
    assert places
    assert all(place.startswith(f"{copy.as_uri()}/mlartifacts/") for place in (*places, *models))
    assert count == 5, "no run was made twice"
    stored = json.loads((copy / "studies" / STUDY / "runs.json").read_text())
    assert stored["tracking_uri"] == "sqlite:///mlflow.db", "a place in the folder is stored as it is seen from there"
    again = Path(shutil.move(copy, tmp_path / "again"))
    runs = load_runs(again / "studies" / STUDY / "runs.json")
    assert runs is not None
    assert runs.tracking_uri == f"sqlite:///{again}/mlflow.db"


@pytest.mark.parametrize("command", [["sync"], ["best", "--register", "masks"], ["resume"], ["ui"]])
def test_a_database_outside_is_only_used_once_it_was_named(command: list[str], moved: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.db"
    shutil.copy(moved / "mlflow.db", outside)
    (moved / "mlflow.db").unlink()
    runs = moved / "studies" / STUDY / "runs.json"
    runs.write_text(runs.read_text().replace(f"{OLD_PLACE}/mlflow.db", str(outside)))
    before = outside.read_bytes()
    done = study(command[0], STUDY, *command[1:], "--results", moved)
    assert done.returncode == 1
    assert f"--tracking-uri sqlite:///{outside}" in done.stderr
    assert "may be a copy" in done.stderr
    assert outside.read_bytes() == before


def test_a_database_that_was_named_once_stays_in_use(moved: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.db"
    shutil.copy(moved / "mlflow.db", outside)
    (moved / "mlflow.db").unlink()
    study_stdout("sync", STUDY, "--results", moved, "--tracking-uri", f"sqlite:///{outside}")
    study_stdout("sync", STUDY, "--results", moved)
    copy = Path(shutil.copytree(moved, tmp_path / "copy"))
    assert "may be a copy" in study_error("sync", STUDY, "--results", copy)


def test_a_renamed_study_has_one_name(moved: Path, tmp_path: Path) -> None:
    (moved / "studies" / STUDY).rename(moved / "studies" / "after")
    (listed,) = study_json("list", "--results", moved)
    assert listed["name"] == "after"
    assert study_json("show", "after", "--results", moved)["name"] == "after"
    assert study_json("best", "after", "--results", moved)["study"] == "after"
    assert (
        study_json("export-best", *ONLY_WEIGHTS, "after", "--results", moved, "--out", tmp_path / "b")["study"]
        == "after"
    )
    assert study("compare", "after", "--results", moved).returncode == 0
    study_stdout("sync", "after", "--results", moved)
    assert study("show", STUDY, "--results", moved).returncode == 1
    with sqlite3.connect(moved / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()[0] == 5


def test_a_copy_beside_its_original_does_not_change_its_runs(moved: Path) -> None:
    shutil.copytree(moved / "studies" / STUDY, moved / "studies" / "twin")
    before = (moved / "mlflow.db").read_bytes()
    assert {summary["name"] for summary in study_json("list", "--results", moved)} == {STUDY, "twin"}
    done = study_error("sync", "twin", "--results", moved)
    assert f"'twin' is a copy of '{STUDY}'" in done
    assert "--tracking-uri" in done
    assert (moved / "mlflow.db").read_bytes() == before
    assert study("sync", STUDY, "--results", moved).returncode == 0


@pytest.mark.usefixtures("shared_cluster")
def test_a_moved_and_renamed_study_is_resumed(moved: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.move(moved, tmp_path / "elsewhere"))
    (elsewhere / "studies" / STUDY).rename(elsewhere / "studies" / "after")
    study_stdout("resume", "after", "--results", elsewhere)
    layout = Layout(elsewhere).study("after")
    view = read_study(layout)
    assert [record.state.value for record in view.records] == ["COMPLETE"] * 4
    assert all(Path(record.checkpoint or "").is_dir() for record in view.records)
    new = [line for line in layout.journal.read_text().splitlines() if '"checkpoint":"trials/' in line]
    assert new, "checkpoints are stored by their path in the study's folder"
    with sqlite3.connect(elsewhere / "mlflow.db") as database:
        names = [name for (name,) in database.execute("SELECT name FROM experiments WHERE name != 'Default'")]
        count = database.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()[0]
    assert (names, count) == ([STUDY], 5), "the runs go on where they were"


@pytest.mark.parametrize("damage", ["gone", "cut", "weights", "swapped", "card"])
def test_a_checkpoint_that_is_not_the_trials_is_named_and_not_used(damage: str, moved: Path, tmp_path: Path) -> None:
    trials = moved / "studies" / STUDY / "trials"
    folder, other = trials / "00000" / "epoch-0002", trials / "00001" / "epoch-0002"
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "cut":
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    elif damage == "weights":
        shutil.copy(other / WEIGHTS, folder / WEIGHTS)
    elif damage == "card":
        (folder / CARD).write_text("[" * 100_000)
    else:
        for name in (WEIGHTS, CARD, SCORES):
            shutil.copy(other / name, folder / name)
    best = study("best", STUDY, "--results", moved)
    assert best.returncode == 0
    assert f"study rerun {STUDY}/0 --results {moved} --save DIR" in best.stderr
    assert str(folder) in best.stderr
    assert ("gone" if damage == "gone" else "another trial" if damage == "swapped" else "damaged") in best.stderr
    assert study("best", STUDY, "--path", "--results", moved).returncode == 1
    assert "--save DIR" in study_error("export-best", STUDY, "--results", moved, "--out", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_storage_outside_is_named_once(moved: Path, tmp_path: Path) -> None:
    layout, storage = Layout(moved).study(STUDY), tmp_path / "storage"
    root = storage / "before-12345678"
    shutil.move(layout.trial(0).parent, root)
    layout.storage.write_text(json.dumps({"given": str(storage), "root": str(root)}))
    journal = layout.journal.read_text()
    layout.journal.write_text(journal.replace(f"{OLD_PLACE}/studies/{STUDY}/trials", str(root)))
    refused = study_error("export-best", STUDY, "--results", moved, "--out", tmp_path / "b")
    assert f"give --storage {storage}" in refused
    study_stdout("export-best", *ONLY_WEIGHTS, STUDY, "--results", moved, "--out", tmp_path / "b", "--storage", storage)
    study_stdout("export-best", *ONLY_WEIGHTS, STUDY, "--results", moved, "--out", tmp_path / "c")
    assert StudyStorage.open(layout).record(0).checkpoint == str(root / "00000" / "epoch-0002")


def test_a_storage_in_the_results_folder_moves_with_it(moved: Path, tmp_path: Path) -> None:
    layout = Layout(moved).study(STUDY)
    shutil.move(layout.trial(0).parent, moved / "store" / "before-12345678")
    place = f"{OLD_PLACE}/store"
    layout.storage.write_text(json.dumps({"given": place, "root": f"{place}/before-12345678"}))
    journal = layout.journal.read_text()
    layout.journal.write_text(journal.replace(f"{OLD_PLACE}/studies/{STUDY}/trials", f"{place}/before-12345678"))
    study_stdout("export-best", *ONLY_WEIGHTS, STUDY, "--results", moved, "--out", tmp_path / "b")


def test_a_home_is_expanded_everywhere(moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = f"~/{moved.relative_to(tmp_path)}"
    assert study_json("list", "--results", place)[0]["name"] == STUDY
    monkeypatch.setenv("STUDY_RESULTS", place)
    assert study_json("list")[0]["name"] == STUDY
    monkeypatch.delenv("STUDY_RESULTS")
    study_json("export-best", *ONLY_WEIGHTS, STUDY, "--results", place, "--out", "~/bundle")
    assert (tmp_path / "bundle" / WEIGHTS).is_file()
    listed = study_json("list", "--tracking-uri", f"sqlite:///{place}/mlflow.db")
    assert [summary["name"] for summary in listed] == [STUDY]
    assert not (tmp_path / "~").exists()
