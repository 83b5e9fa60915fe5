"""What a study would run and need, through the command line; nothing runs and nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import TINY, study, study_error, study_json, study_stdout

LISTED = """\
name: factors
data: {source: faces, image_size_px: 24, count: 80}
trial: {depth: 10, max_epochs: 2, batch_size: 16}
space:
  optimizer:     {choice: [sgd, adam]}
  schedule:      {choice: [constant, cosine]}
  learning_rate: LEARNING_RATE
design: DESIGN
resources: {gpus_per_trial: 0}
"""
ONE_FACTOR = LISTED.replace("LEARNING_RATE", "{choice: [1e-3, 1e-2, 1e-1]}").replace(
    "DESIGN",
    "{kind: one_factor, baseline: {optimizer: adam, schedule: constant, learning_rate: 1e-3}}\n"
    "replicates: {seeds: [3, 5]}",
)
LARGE = LISTED.replace("LEARNING_RATE", "{uniform: [1, 20000], step: 1}").replace("DESIGN", "grid")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


def planned(file: Path, *arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = study_json("plan", file, *arguments, "--results", file.parent / "results")
    assert not (file.parent / "results").exists(), "a plan stores nothing"
    return answer


def test_a_search_shows_a_sample_and_invents_no_time(tiny: Path) -> None:
    shown = study_stdout("plan", tiny, "--results", tiny.parent / "results")
    assert "tiny: search by tpe, 3 trials, 6 epochs at most" in shown
    assert "a sample of 3 points drawn at random; the search chooses its own" in shown
    assert "time    unknown: no earlier run in" in shown
    assert "--calibrate measures it (about" in shown
    assert "disk    at most" in shown
    assert not (tiny.parent / "results").exists()


def test_a_design_lists_its_points_and_its_replicates(tmp_path: Path) -> None:
    file = tmp_path / "factors.yaml"
    file.write_text(ONE_FACTOR)
    answer = planned(file)
    assert (answer["trials"], answer["epochs"], answer["replicates"]) == (10, 20, [3, 5])
    assert answer["points_drawn_at_random"] is False
    assert len(answer["points"]) == 5
    assert answer["points"][0] == {"optimizer": "adam", "schedule": "constant", "learning_rate": 0.001}
    assert answer["time"] is None
    assert answer["disk_bytes"] > 3 * 4 * 4_900_000
    assert planned(file, "--trials", 7)["trials"] == 7


def test_a_calibrated_plan_tells_time_and_starts_no_trial(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.planning.speed_measurement.ENOUGH_S", 0.2)
    answer = planned(tiny, "--calibrate", "--set", "budget.wall_clock=1 s")
    assert answer["time"]["wall_s"] > 0
    (model,) = answer["models"]
    assert (model["depth"], model["trials"]) == (10, 3)
    assert model["source"].startswith("measured")
    assert answer["time"]["limit"]["name"] == "wall_clock"
    assert answer["time"]["accelerator_hours"] == 0


def test_a_large_design_is_cut_for_people_and_whole_for_machines(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(LARGE)
    assert len(planned(file)["points"]) == 80_000
    shown = study("plan", file, "--results", tmp_path / "results").stdout
    assert "80000 points, the first and last 5 (--json has all)" in shown
    assert len(shown.splitlines()) < 40


def test_a_bad_file_is_refused_before_anything_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(TINY.replace("search:", "serach:"))
    assert "did you mean `search`" in study_error("plan", file, code=2)
