"""power: from a study that ran, from one like it, and from stated assumptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import study, study_json, study_stdout
from predicted_study import ABLATION, SEARCH, store

from study.analysis.power import assumed_components, power


def _read(*arguments: object) -> Any:
    return study_json("power", *arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(f"{ABLATION}data: {{source: faces, count: 2000}}\n")
    return path


def test_a_study_file_rests_on_assumptions_that_are_stated(file: Path) -> None:
    answer = _read(file, "--detect", "0.005")
    assert (answer["from"], answer["seeds"], answer["images"]) == ("assumptions", 3, 400)
    components = assumed_components("auc", 0.95, 0.6, 0.004, 5)
    assert answer["power"] == pytest.approx(power(components, 0.005, 3, 400))
    assert "val_auc about 0.95 (--auc)" in answer["notes"][0]
    assert answer["needed"]["images"] is None  # seeds alone blur it too much
    assert answer["needed"]["cheapest"]["seeds"] > 3
    assert "with 3 seeds no number of images suffices" in answer["words"]
    more = _read(file, "--detect", "0.005", "--seeds", "20", "--images", "30000", "--seed-sd", "0.001")
    assert more["power"] > 0.95 > answer["power"]
    assert {cell["seeds"] for cell in more["table"]} == {2, 3, 5, 10, 20}
    wider = _read(file, "--detect", "0.005", "--auc", "0.8", "--correlation", "0")
    assert wider["power"] < answer["power"]


def test_the_table_is_printed(file: Path) -> None:
    done = study_stdout("power", file, "--detect", "0.05")
    assert "noise from assumptions" in done
    assert "400 images" in done
    assert "80 % takes" in done


def test_the_runs_of_a_study_show_its_noise(tmp_path: Path, file: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION, lambda params: 3.0)
    answer = _read("ablation", "--detect", "0.02", "--results", results)
    assert (answer["from"], answer["seeds"], answer["images"]) == ("the runs of ablation", 3, 300)
    assert answer["components"]["own_images"] > 0
    assert answer["notes"] == ["this is about one pair; to beat each of several others takes more"]
    like = _read(file, "--detect", "0.02", "--like", "ablation", "--results", results)
    assert like["components"] == answer["components"]
    assert (like["seeds"], like["images"]) == (3, 400)
    assert like["power"] > answer["power"]


def test_where_each_ran_once_the_spread_between_seeds_is_assumed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, SEARCH)
    answer = _read("search", "--detect", "0.02", "--seeds", "3", "--results", results)
    assert answer["components"]["seeds"] == pytest.approx(2 * 0.004**2)
    assert "as each configuration ran once" in answer["notes"][0]
    assert _read("search", "--detect", "0.02", "--results", results)["seeds"] == 1


def test_what_cannot_be_answered_is_refused_with_a_way_out(tmp_path: Path, file: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION, predictions=False)
    for arguments, code, words in (
        ((file, "--detect", "0"), 2, "--detect must be > 0"),
        ((file, "--detect", "0.01", "--auc", "1"), 2, "--auc must be in (0, 1)"),
        ((file, "--detect", "0.01", "--correlation", "1"), 2, "--correlation must be in [0, 1)"),
        ((file, "--detect", "0.01", "--seed-sd", "-1"), 2, "--seed-sd must be >= 0"),
        ((file, "--detect", "0.01", "--metric", "val_loss"), 2, "name one with --like NAME"),
        (("ablation", "--detect", "0.01", "--auc", "0.9"), 2, "leave them out"),
        (("ablation", "--detect", "0.01", "--like", "ablation"), 2, "--like is for a study file"),
        (("ablation", "--detect", "0.01"), 1, "`study power FILE --detect D` states assumptions"),
        (("nothing", "--detect", "0.01"), 1, "no study `nothing`"),
        ((tmp_path / "no.yaml", "--detect", "0.01"), 2, "no.yaml"),
    ):
        refused = study("power", *arguments, "--results", results)
        assert (refused.returncode, words in refused.stderr) == (code, True), (arguments, refused.stderr)


def test_assumed_noise_of_fractions_is_that_of_the_binomial() -> None:
    noise = assumed_components("accuracy", 0.9, 0.5, 0.0, 2, 1.0)
    assert noise.variance(2, 1000) == pytest.approx(2 * 0.9 * 0.1 * 0.5 / 1000)
    assert assumed_components("recall", 0.9, 0.5, 0.0, 2, 0.25).images == pytest.approx(4 * noise.images)
