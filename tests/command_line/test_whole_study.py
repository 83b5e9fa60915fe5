"""A whole study through the command line: run, look, export."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import ONLY_WEIGHTS, ROOT, TINY, study, study_error, study_json, study_process
from model_kit import check_formats_elsewhere
from ruamel.yaml import YAML

from study.bundles.bundle_files import SUMS
from study.export import load_bundle
from study.export.formats import parity

pytestmark = pytest.mark.usefixtures("formats_checked_here")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run one tiny study as a user does; the tests below only look at it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STUDY_FORKED_WORKERS")
        ran = study_process("run", folder / "tiny.yaml", "--results", folder / "results")
    assert ran.returncode == 0, ran.stderr
    (folder / "screen.txt").write_text(ran.stdout)
    return folder / "results"


def test_run_says_what_happens_and_nothing_of_ray(results: Path) -> None:
    screen = (results.parent / "screen.txt").read_text()
    assert "tiny starts: 3 trials" in screen
    assert screen.count("COMPLETE: val_auc") == 3
    assert "study best tiny" in screen
    assert str(results / "studies" / "tiny" / "study.log") in screen
    for chatter in ("raylet", "Tune Status", "WARNING", "mlflow.store"):
        assert chatter not in screen


def test_list_counts_trials_by_state(results: Path) -> None:
    (row,) = study_json("list", "--results", results)
    expected = {"name": "tiny", "state": "finished", "trials": 3, "complete": 3, "pruned": 0, "failed": 0, "running": 0}
    assert {key: row[key] for key in expected} == expected


def test_compare_ranks_by_any_metric_in_its_own_direction(results: Path) -> None:
    by_auc = study_json("compare", "--results", results)
    by_loss = study_json("compare", "tiny", "--metric", "val_loss", "--results", results)
    assert isinstance(by_auc, list)
    assert isinstance(by_loss, list)
    assert [row["rank"] for row in by_auc] == [1, 2, 3]
    assert [row["value"] for row in by_auc] == sorted((row["value"] for row in by_auc), reverse=True)
    assert [row["value"] for row in by_loss] == sorted(row["value"] for row in by_loss)
    assert len(study_json("compare", "--top", 2, "--results", results)) == 2


def test_compare_shows_more_metrics_and_refuses_unknown_ones(results: Path) -> None:
    shown = study("compare", "tiny", "--columns", "val_f1, shifted.lowlight.auc", "--results", results)
    heading = re.split(r"\s{2,}", next(line for line in shown.stdout.splitlines() if "rank" in line).strip())
    assert heading[:7] == ["rank", "may be", "trial", "state", "val_auc", "val_f1", "shifted.lowlight.auc"]
    refused = study_error("compare", "tiny", "--columns", "val_acc", "--results", results, code=2)
    assert "no trial reports `val_acc`; did you mean `val_accuracy`? There are: epoch_s" in refused
    assert "shifted.lowlight.*" in refused


def test_best_hands_over_the_checkpoint_its_value_belongs_to(results: Path) -> None:
    best = study_json("best", "tiny", "--metric", "val_auc", "--results", results)
    assert isinstance(best, dict)
    assert {"study", "trial", "run_id", "metric", "value", "epoch", "checkpoint", "params"} <= set(best)
    card = json.loads((Path(best["checkpoint"]) / "checkpoint.json").read_text())
    assert card["epoch"] == best["epoch"]
    assert card["metrics"]["val_auc"] == best["value"]
    assert "momentum" not in best["params"] or best["params"]["optimizer"] == "sgd"


def test_best_says_in_words_how_sure_it_is(results: Path) -> None:
    screen = study("best", "--results", results).stdout
    assert "certain?" in screen
    assert "ran once" in screen


def test_mlflow_has_one_finished_run_per_trial_under_one_parent(results: Path) -> None:
    best = study_json("best", "--results", results)
    assert isinstance(best, dict)
    with sqlite3.connect(f"file:{results / 'mlflow.db'}?mode=ro", uri=True) as database:
        statuses = dict(database.execute("SELECT run_uuid, status FROM runs").fetchall())
        parents = [row[0] for row in database.execute("SELECT value FROM tags WHERE key = 'mlflow.parentRunId'")]
        query = "SELECT value FROM metrics WHERE run_uuid = ? AND key = 'best.val_auc'"
        ((value,),) = database.execute(query, (best["run_id"],)).fetchall()
    assert len(statuses) == 4
    assert set(statuses.values()) == {"FINISHED"}
    assert len(parents) == 3
    assert set(parents) <= set(statuses)
    assert value == best["value"]


def test_export_best_writes_a_bundle_that_scores_as_the_checkpoint_did(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        check_formats_elsewhere(patch)
        exported = study_json("export-best", "--out", tmp_path / "bundle", "--results", results)
    assert isinstance(exported, dict)
    assert exported["max_score_difference"] <= 0.05
    names = {file.name for file in (tmp_path / "bundle").iterdir()}
    assert names >= {"model.safetensors", "model.onnx", "model.pt2", "config.json", "MODEL_CARD.md", "SHA256SUMS"}
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.config["classes"] == ["not_wearing_mask", "wearing_mask"]
    scores = bundle.scores(np.zeros((2, 24, 24, 3), dtype=np.uint8))
    assert scores.shape == (2,)
    assert "new or empty" in study_error("export-best", "--out", tmp_path / "bundle", "--results", results)
    assert [check["fault"] for check in exported["formats"]] == [None] * 3
    verified = study_json("verify", tmp_path / "bundle")
    assert isinstance(verified, dict)
    assert verified["is_right"] is True


def test_a_bundle_says_how_it_was_measured_and_selected(results: Path, tmp_path: Path) -> None:
    best = study_json("best", "tiny", "--results", results)
    assert isinstance(best, dict)
    options = (*ONLY_WEIGHTS, "--threshold", "recall=0.9")
    done = study("export-best", "tiny", "--out", tmp_path / "bundle", *options, "--results", results)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "bundle" / "metrics.json").read_text())
    auc = metrics["validation"]["metrics"]["auc"]
    assert auc["value"] == pytest.approx(best["metrics"]["val_auc"], abs=1e-6)
    assert auc["low"] < auc["value"] < auc["high"]
    shifted = metrics["shifted"]["lowlight"]["metrics"]["auc"]
    assert shifted["value"] == pytest.approx(best["metrics"]["shifted.lowlight.auc"], abs=1e-6)
    assert metrics["validation"]["metrics"]["recall.wearing_mask"]["value"] >= 0.9
    expected = best["certainty"]["winner_value"]
    assert {key: metrics["selection"][key] for key in expected} == expected
    assert metrics["test"]["metrics"]["accuracy"]["low"] is not None
    assert metrics["calibration"]["nll_after"] <= metrics["calibration"]["nll_before"]
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    head = YAML(typ="safe").load(card.split("---\n")[1])
    assert head["pipeline_tag"] == "image-classification"
    assert head["model-index"][0]["results"][0]["metrics"][0]["type"] == "roc_auc"
    for told in ("from 3 trials, of which 3 ended", "95 % intervals", "## Licence", "shifted: lowlight"):
        assert told in card
    assert str(results) not in card


def test_the_study_file_of_a_bundle_trains_the_same_checkpoint(
    results: Path, tmp_path: Path, shared_cluster: None
) -> None:
    exported = study_json("export-best", "--out", tmp_path / "bundle", *ONLY_WEIGHTS, "--results", results)
    assert isinstance(exported, dict)
    again = study("run", tmp_path / "bundle" / "reproduce.yaml", "--results", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    best = study_json("best", "--results", tmp_path / "again")
    assert isinstance(best, dict)
    assert best["value"] == exported["value"]


def test_another_trial_is_exported_by_name_without_a_look_at_the_test_images(results: Path, tmp_path: Path) -> None:
    best = study_json("best", "tiny", "--results", results)
    assert isinstance(best, dict)
    other = (best["trial"] + 1) % 3
    run = ("--run", f"tiny/{other}")
    exported = study_json("export-best", *run, "--out", tmp_path / "b", *ONLY_WEIGHTS, "--results", results)
    assert isinstance(exported, dict)
    assert exported["trial"] == other
    assert "kept for the best checkpoint" in exported["test"]["note"]
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["selection"] is None
    wrong = study("export-best", "other", *run, "--out", tmp_path / "c", "--results", results)
    assert (wrong.returncode, wrong.stderr.count("leave the name out")) == (2, 1)


@pytest.mark.parametrize(
    ("precision", "fault"), [("fp16", "a logit differs by"), ("int8", "of the decisions differ, more than")]
)
def test_a_format_that_fails_is_named_with_exit_code_1(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, fault: str
) -> None:
    monkeypatch.setitem(parity.LOGIT_TOLERANCE, "fp16", 0.0)
    monkeypatch.setattr(parity, "FLIPPED_TOLERANCE", -1.0)
    options = ("--formats", "onnx", "--precision", precision)
    done = study("export-best", "tiny", "--out", tmp_path / "b", *options, "--results", results)
    assert done.returncode == 1
    assert f"deleted model.onnx ({precision}): " in done.stderr
    assert fault in done.stderr
    assert json.loads((tmp_path / "b" / "config.json").read_text())["precisions"] == {"safetensors": "fp32"}
    assert study("verify", tmp_path / "b").returncode == 0
    assert not (tmp_path / "b" / "model.onnx").exists()
    assert (tmp_path / "b" / "model.safetensors").exists()


def test_an_export_that_is_terminated_leaves_nothing(results: Path, tmp_path: Path) -> None:
    words = ("export-best", "tiny", *ONLY_WEIGHTS, "--out", tmp_path / "b", "--results", results)
    command = [sys.executable, "-m", "cli", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited_until = time.monotonic() + 120
    while not (tmp_path / ".b.part" / SUMS).exists() and time.monotonic() < waited_until:
        assert process.poll() is None, "it ended before it could be terminated"
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [("--precision", "int4"), ("--licence", "MIT License"), ("--formats", "tflite"), ("--threshold", "recall=2")],
)
def test_an_option_that_means_nothing_is_refused_before_anything_is_read(
    tmp_path: Path, option: str, value: str
) -> None:
    refused = study("export-best", "none", "--results", tmp_path, "--out", tmp_path / "b", option, value)
    assert refused.returncode == 2
    assert value in refused.stderr


def test_best_registers_its_checkpoint_once_and_says_how_sure_it_is(results: Path) -> None:
    best = study_json("best", "tiny", "--register", "masks", "--results", results)
    assert isinstance(best, dict)
    done = best["registered"]
    assert (done["name"], done["version"], done["alias"], done["is_new"]) == ("masks", "1", "champion", True)
    with sqlite3.connect(f"file:{results / 'mlflow.db'}?mode=ro", uri=True) as database:
        ((version, run_id, text),) = database.execute("SELECT version, run_id, description FROM model_versions")
        tags = dict(database.execute("SELECT key, value FROM model_version_tags").fetchall())
    assert (version, run_id) == (1, best["run_id"])
    assert best["certainty"]["text"] in text
    assert float(tags["study.temperature"]) > 0
    assert (tags["study.threshold"], tags["study.score_threshold"]) == ("0.5", "0.5")
    (card,) = results.rglob("MODEL_CARD.md")
    assert 'mlflow.pyfunc.load_model("models:/masks@champion")' in card.read_text()
    (graph,) = results.rglob("model.pt2")
    assert b"site-packages" not in graph.read_bytes()
    assert str(ROOT).encode() not in graph.read_bytes()
    assert (tags["study.trial"], tags["study.value"]) == (str(best["trial"]), repr(best["value"]))
    again = study("best", "--register", "masks", "--alias", "next", "--results", results).stdout
    assert "registered   masks version 1 as next, which it was already: models:/masks@next" in again


def test_show_tells_the_space_and_the_data(results: Path) -> None:
    screen = study("show", "tiny", "--results", results).stdout
    assert "3 of 3 trials" in screen
    assert "momentum" in screen
    assert "when optimizer is sgd" in screen
    assert "fingerprint" in screen


def test_a_name_that_is_taken_is_refused_with_both_ways_on(results: Path) -> None:
    again = study_error("run", results.parent / "tiny.yaml", "--results", results)
    assert "study resume tiny" in again
    assert "--name" in again


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("best", "tinny"), 1, "did you mean `tiny`"),
        (("best", "--metric", "val_acc"), 2, "did you mean `val_accuracy`"),
        (("compare", "--metric", "learning_rate"), 2, "--metric"),
        (("resume", "other"), 1, "no study `other`"),
        (("compare", "--top", "0"), 2, "top"),
        (("rnu",), 2, "No such command 'rnu'. Did you mean 'run'?"),
    ],
)
def test_a_command_that_cannot_be_says_so(results: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = study(*arguments, *(() if arguments[0] == "rnu" else ("--results", results)))
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
