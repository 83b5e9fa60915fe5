"""Trials of a real study run again through the command line, and planned by what they took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, study, study_json, study_stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, shared_cluster: None) -> Path:
    """Run one small study, with a pruner and two threads a trial."""
    folder = tmp_path_factory.mktemp("rerun")
    text = TINY.replace("pruner: none", "pruner: asha").replace("max_epochs: 2", "max_epochs: 3")
    (folder / "tiny.yaml").write_text(text.replace("cpus_per_trial: 1", "cpus_per_trial: 2"))
    study_stdout("run", folder / "tiny.yaml", "--results", folder / "results")
    return folder / "results"


def _records(results: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(study("show", "tiny", "--results", results, "--json").stdout)["records"]
    return records


def test_trials_of_a_study_come_out_the_same(results: Path, tmp_path: Path) -> None:
    """The first trial by its MLflow run, and another one, of another state if there is one."""
    first, *others = _records(results)
    other = next((record for record in others if record["state"] != first["state"]), others[-1])
    by_run = study_stdout("rerun", first["run_id"], "--results", results, "--save", tmp_path / "saved")
    assert "the same to the last bit: " in by_run
    assert (tmp_path / "saved" / "model.safetensors").exists()
    answer = study_json("rerun", f"tiny:{other['trial']}", "--results", results)
    assert answer["same"]
    assert answer["epochs_now"] == other["epochs_run"]
    assert answer["metrics"] > 15


def test_a_changed_journal_is_noticed_and_says_where(results: Path) -> None:
    """A metric that is not what the trial reports fails the comparison."""
    journal = results / "studies" / "tiny" / "ledger.journal"
    text = journal.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    stored = next(line for line in lines for value in line.get("user_attr", {}).values() if _is_epoch(value))
    (value,) = stored["user_attr"].values()
    value["values"]["val_loss"] += 1e-9
    try:
        journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
        trial = stored["trial_id"]
        done = study("rerun", f"tiny:{trial}", "--results", results)
    finally:
        journal.write_text(text)
    assert done.returncode == 1
    assert "val_loss" in done.stdout
    assert "must come out the same to the last bit, but 1 metric" in done.stderr
    assert "Traceback" not in done.stderr


def _is_epoch(value: object) -> bool:
    return isinstance(value, dict) and "val_loss" in value.get("values", {})


@pytest.mark.parametrize(
    ("run", "code", "words"),
    [
        ("tinny:0", 1, "did you mean `tiny`"),
        ("tiny:99", 1, "no trial 99 in `tiny`; there are: 0 to 2"),
        ("tiny:x", 2, "STUDY/TRIAL"),
        ("0" * 32, 1, "no MLflow run"),
    ],
)
def test_what_is_not_there_is_named(results: Path, run: str, code: int, words: str) -> None:
    done = study("rerun", run, "--results", results)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_goes_by_what_earlier_trials_took(results: Path) -> None:
    before = sorted(results.rglob("*"))
    answer = study_json("plan", results.parent / "tiny.yaml", "--name", "next", "--results", results)
    assert answer["models"][0]["source"].startswith("from ")
    assert answer["time"]["wall_s"] > 0
    assert sorted(results.rglob("*")) == before
