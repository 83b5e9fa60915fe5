"""effects: what factors do by stored predictions, by seeds alone, of one seed, and the importance of a search."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from commands import study, study_json, study_stdout
from predicted_study import ABLATION, FACTORIAL, SEARCH, store

from study.records import StopReason


def _read(results: Path, *arguments: object) -> Any:
    return study_json("effects", *arguments, "--results", results)


def _main(answer: Any, factor: str, level: object) -> Any:
    return next(row for row in answer["effects"] if row["factors"] == [factor] and row["levels"] == [level])


def test_the_rows_of_an_ablation_are_shown_on_validation_and_on_a_shifted_set(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION)
    answer = _read(results)
    assert (answer["design"], answer["about"], answer["basis"], answer["points"], answer["seeds"]) == (
        "one_factor", "configurations", "predictions", 5, 3,
    )  # fmt: skip
    assert answer["baseline"] == {"optimizer": "adam", "depth": 18, "augmentation": "none"}
    sgd = _main(answer, "optimizer", "sgd")
    assert sgd["certain"]
    assert sgd["references"] == ["adam"]
    assert sgd["low"] < sgd["value"] < sgd["high"] < 0
    assert sgd["se_image"] > 0
    assert sgd["shifted"]["dark"]["high"] < 0
    assert not any(row["certain"] for row in answer["effects"] if row["factors"] != ["optimizer"])
    assert answer["words"].startswith("1 of 4 is certain: optimizer sgd -0.")
    rows = json.loads(study("compare", "ablation", "--results", results, "--json").stdout)
    compared = next(row for row in rows if row["params"]["optimizer"] == "sgd")
    assert (compared["difference"], compared["difference_margin"]) == pytest.approx(
        (sgd["value"], sgd["high"] - sgd["value"])
    )


def test_the_table_has_every_format(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION)
    table = study_stdout("effects", "--results", results, "--matters", "0.5")
    assert "which effects? 1 of 4 is certain" in table
    assert "practically the same" in table
    assert "each row changes one thing of the baseline: optimizer adam, depth 18, augmentation none" in table
    rows = list(csv.DictReader(io.StringIO(study("effects", "--results", results, "--format", "csv").stdout)))
    assert [row["factor"] for row in rows] == ["optimizer", "depth", "depth", "augmentation"]
    assert float(rows[0]["val_auc.high"]) < 0
    assert float(rows[0]["shifted.dark.auc.low"]) < float(rows[0]["shifted.dark.auc"])
    assert "| optimizer | sgd | adam |" in study("effects", "--results", results, "--format", "markdown").stdout
    assert r"\toprule" in study("effects", "--results", results, "--format", "latex").stdout
    refused = study("effects", "--results", results, "--json", "--format", "csv")
    assert refused.returncode == 2


def test_main_effects_and_interactions_of_a_factorial(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, FACTORIAL, lambda params: 1.0 if params == {"optimizer": "sgd", "depth": 18} else 3.0)
    answer = _read(results, "factorial")
    both = answer["effects"][-1]
    assert (both["factors"], both["levels"], both["references"]) == (["optimizer", "depth"], ["sgd", 18], ["adam", 10])
    assert both["certain"]
    assert both["value"] == pytest.approx(2 * _main(answer, "depth", 18)["value"], abs=0.03)
    assert len(_read(results, "factorial", "--no-interactions")["effects"]) == 2
    accuracy = _read(results, "factorial", "--metric", "val_accuracy")
    assert accuracy["metric"] == "val_accuracy"
    assert set(accuracy["effects"][0]["shifted"]) == {"dark"}
    loss = _read(results, "factorial", "--metric", "val_loss")
    assert loss["effects"][-1]["low"] > 0  # it is worse there, and lower is better


def test_without_predictions_images_count_by_their_number_or_nothing_is_certain(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION, predictions=False)
    answer = _read(results)
    assert answer["basis"] == "counts"
    sgd = _main(answer, "optimizer", "sgd")
    assert sgd["certain"]
    assert not sgd["shifted"]["dark"]["certain"]  # how many images of each class it has is not known
    assert any(note.startswith("val_auc: what images do is estimated from their number") for note in answer["notes"])
    assert any(note.startswith("shifted.dark.auc: by seeds alone; what other images") for note in answer["notes"])
    f1 = _read(results, "--metric", "val_f1")
    assert f1["basis"] == "values"
    assert not any(row["certain"] for row in f1["effects"])


def test_one_seed_shows_nothing_of_factors(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION.replace("name: ablation", "name: once").replace("[0, 1, 2]", "[0]"))
    once = _read(results, "once")
    assert once["about"] == "checkpoints"
    assert once["words"].startswith("unknown, each ran once, so that no claim about a factor is possible")
    assert all(row["se_seed"] == 0 for row in once["effects"])
    store(results, ABLATION.replace("name: ablation", "name: bare").replace("[0, 1, 2]", "[0]"), predictions=False)
    bare = _read(results, "bare")
    assert not any(row["certain"] for row in bare["effects"])
    f1 = _read(results, "bare", "--metric", "val_f1")
    assert [(row["low"], row["high"], row["p"]) for row in f1["effects"]] == [(None, None, 1)] * 4
    assert "(unknown)" in study("effects", "bare", "--metric", "val_f1", "--results", results).stdout


def test_points_that_were_stopped_or_did_not_run_are_left_out_and_said(tmp_path: Path) -> None:
    results = tmp_path / "results"
    once = FACTORIAL.replace("[0, 1, 2]", "[0]")
    store(results, once, ended=lambda run: StopReason.PRUNED if run.trial == 3 else StopReason.FINISHED)
    answer = _read(results)
    assert answer["points"] == 3
    assert any("1 of 4 points have not run to their end" in note for note in answer["notes"])
    assert {tuple(row["factors"]) for row in answer["effects"]} == {("optimizer",), ("depth",)}
    store(results, ABLATION, ended=lambda run: StopReason.PRUNED if run.trial == 0 else StopReason.FINISHED)
    refused = study("effects", "ablation", "--results", results)
    assert refused.returncode == 1
    assert "need its baseline" in refused.stderr
    store(results, once.replace("name: factorial", "name: begun"), trials=1)
    refused = study("effects", "begun", "--results", results)
    assert refused.returncode == 1
    assert "an effect needs two levels of a factor, but 1 of the points" in refused.stderr


def test_a_search_shows_importance_and_what_that_cannot_say(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, SEARCH)
    answer = _read(results)
    assert set(answer["importance"]) == {"val_auc", "shifted.dark.auc"}
    for shares in answer["importance"].values():
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["optimizer"] > shares["learning_rate"]
    assert answer == _read(results)
    table = study("effects", "--results", results)
    assert "importance of what was searched, 12 points" in table.stdout
    assert "not which value is better, nor why, and nothing of chance" in table.stdout
    assert table.stderr == ""
    assert study("effects", "--results", results, "--matters", "0.1").returncode == 2
    store(results, SEARCH.replace("name: search", "name: short"), trials=4)
    refused = study("effects", "short", "--results", results)
    assert refused.returncode == 1
    assert "importance needs at least 10 points" in refused.stderr


def test_a_metric_that_nobody_reports_and_a_list_of_points_are_refused(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, FACTORIAL)
    assert study("effects", "--results", results, "--metric", "val_acc").returncode == 2
    points = "{kind: points, points: [{optimizer: sgd, depth: 10}, {optimizer: adam, depth: 18}]}"
    store(results, FACTORIAL.replace("design: factorial", f"design: {points}").replace("name: f", "name: points_of_f"))
    refused = study("effects", "points_of_factorial", "--results", results)
    assert refused.returncode == 2
    assert "its factors change together" in refused.stderr
    assert "`study compare points_of_factorial` ranks its points" in refused.stderr
