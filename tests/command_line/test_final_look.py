"""The test images are looked at once, and whoever looks again is on record."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ONLY_WEIGHTS, TINY, study, study_error, study_json, study_stdout
from sklearn.metrics import roc_auc_score

from cli.queries.field_getters import mode_of
from cli.queries.final_look import evaluate_on_test
from cli.queries.ranking import require_best
from cli.queries.study_handle import open_study
from study.analysis.ranking import rank_trials
from study.config.search_config import Objective
from study.data import load_data
from study.data.dataset import ImageSet
from study.errors import StudyStorageError
from study.export import load_bundle
from study.metric_catalog import metric_named
from study.paths import SHIFTED_SCORES, TEST_SCORES, Layout, StudyLayout
from study.records import FinalLook
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage

pytestmark = pytest.mark.usefixtures("formats_checked_here")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shared_cluster: None) -> Path:
    folder = tmp_path_factory.mktemp("look")
    # Which trial wins by which metric depends on the processor, so all keep their weights.
    (folder / "tiny.yaml").write_text(TINY + "keep: {per_study: all}\n")
    study_stdout("run", folder / "tiny.yaml", "--results", folder / "results", "--trials", 4)
    return folder / "results"


@pytest.fixture
def results(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "results"))


def layout_of(results: Path) -> StudyLayout:
    return Layout(results).study("tiny")


def storage_of(results: Path) -> StudyStorage:
    return StudyStorage.open(layout_of(results))


def best(results: Path, *options: object) -> Any:
    return study_json("best", "tiny", "--results", results, *options)


def another_winner(results: Path) -> str:
    """Return a metric that another trial wins than val_auc's."""
    storage = storage_of(results)

    def winner(metric: str) -> int:
        objective = Objective(metric=metric, mode=mode_of(metric, storage.spec.objective_list))
        return rank_trials(storage.records(), [objective])[0].record.trial

    reported = {metric for record in storage.records() for metric in record.metrics}
    usable = [name for name in sorted(reported) if (known := metric_named(name)) is not None and known.mode is not None]
    metrics = [metric for metric in usable if winner(metric) != winner("val_auc")]
    assert metrics, "take other settings: one trial wins by everything"
    return metrics[0]


def test_nobody_looks_unless_asked(results: Path) -> None:
    answer = best(results)
    assert answer["test"] is None
    assert answer["test_looks"] == []
    assert not any(name.startswith("test") for name in answer["metrics"])


def test_a_look_scores_the_checkpoint_once_and_is_remembered_everywhere(results: Path) -> None:
    answer = best(results, "--test")
    again = best(results, "--test")
    assert again["test"] == answer["test"] == best(results)["test"]
    assert len(again["test_looks"]) == 1
    interval = answer["test"]["interval"]
    assert interval["metric"] == "auc"
    assert interval["low"] < interval["value"] == answer["test"]["metrics"]["auc"] < interval["high"]
    shown = study("best", "tiny", "--results", results).stdout
    assert re.search(r"test, looked at once: 0\.\d{4} \(0\.\d{4} to [01]\.\d{4}\)", shown)
    with np.load(layout_of(results).trial(answer["trial"]) / TEST_SCORES) as stored:
        assert set(stored) == {"scores", "labels", "ids"}
        assert roc_auc_score(stored["labels"], stored["scores"]) == pytest.approx(interval["value"])
    with np.load(layout_of(results).trial(answer["trial"]) / SHIFTED_SCORES) as stored:
        assert {"lowlight/scores", "lowlight/labels", "lowlight/ids"} <= set(stored)
    (layout_of(results).trial(answer["trial"]) / TEST_SCORES).unlink()
    by_counts = best(results)["test"]["interval"]
    assert by_counts["low"] < by_counts["value"] < by_counts["high"]
    assert {**again["test"], "interval": by_counts} == best(results)["test"]
    looks = storage_of(results).looks
    assert [(look.trial, look.ranked_by) for look in looks] == [(answer["trial"], "val_auc")]

    bundle = results.parent / "bundle"
    study_stdout("export-best", *ONLY_WEIGHTS, "tiny", "--results", results, "--out", bundle)
    config = json.loads((bundle / "config.json").read_text())
    assert config["test"]["metrics"] == answer["test"]["metrics"]
    assert "for the first time" in config["test"]["note"]
    data = load_data(storage_of(results).spec.data)
    scores = load_bundle(bundle).scores(data.test.images, config["provenance"]["precision"])
    assert roc_auc_score(data.test.labels, scores) == pytest.approx(answer["test"]["metrics"]["auc"], abs=0.02)

    with closing(sqlite3.connect(Layout(results).mlflow_db)) as database:
        of_run = (answer["run_id"],)
        metrics = dict(database.execute("select key, value from latest_metrics where run_uuid = ?", of_run))
        tags = dict(database.execute("select key, value from tags where run_uuid = ?", of_run))
    assert metrics["test.auc"] == answer["test"]["metrics"]["auc"]
    assert metrics["best.shifted.lowlight.auc"] == answer["metrics"]["shifted.lowlight.auc"]
    assert tags["study.test_looks"] == "1"


def test_another_checkpoint_is_refused_and_on_record_when_it_is_insisted_on(results: Path) -> None:
    first = best(results, "--test")
    metric = another_winner(results)
    refused = study_error("best", "tiny", "--results", results, "--metric", metric, "--test")
    assert f"the test images are looked at once, but were scored with trial {first['trial']}" in refused
    bundle = results.parent / "bundle"
    study_stdout("export-best", *ONLY_WEIGHTS, "tiny", "--results", results, "--metric", metric, "--out", bundle)
    assert "not scored" in json.loads((bundle / "config.json").read_text())["test"]["note"]
    assert len(best(results)["test_looks"]) == 1, "a bundle is no reason to look again"

    second = best(results, "--metric", metric, "--test", "--look-again")
    assert [look["trial"] for look in second["test_looks"]] == [first["trial"], second["trial"]]
    shown = study("best", "tiny", "--results", results, "--metric", metric)
    assert f"after they had been looked at for trial {first['trial']}" in shown.stdout


def test_a_running_study_is_not_looked_at(results: Path) -> None:
    with driver_lock(layout_of(results)):
        done = study("best", "tiny", "--results", results, "--test")
    assert done.returncode == 1
    assert "already runs" in done.stderr
    assert best(results)["test_looks"] == []


def test_a_look_that_somebody_took_while_the_images_were_read_counts(results: Path) -> None:
    ranking, winner = require_best(results, None, "tiny", None)
    before, layout = open_study(results, "tiny"), layout_of(results)
    with driver_lock(layout):
        StudyStorage.open(layout).record_test_evaluation(
            FinalLook(winner.record.trial + 1, 1, "val_loss", 1.0, {"auc": 0.5})
        )
    images = ImageSet(np.zeros((2, 24, 24, 3), np.uint8), np.array([0, 1]), ("a", "b"))
    with pytest.raises(StudyStorageError, match="the test images are looked at once"):
        evaluate_on_test(results, before, ranking, winner, images, again=False)
    assert len(StudyStorage.open(layout).looks) == 1


def test_a_server_knows_no_test_images(results: Path) -> None:
    done = study_error("best", "--test", "--tracking-uri", f"sqlite:///{results / 'mlflow.db'}", code=2)
    assert "cannot go with --tracking-uri" in done


def test_a_checkpoint_that_cannot_be_read_is_said_and_is_no_look(results: Path) -> None:
    trial = best(results)["trial"]
    checkpoint = storage_of(results).record(trial).checkpoint
    assert checkpoint is not None
    kept = Path(checkpoint) / "model.safetensors"
    aside = kept.with_name("aside")
    kept.rename(aside)
    try:
        done = study("best", "tiny", "--results", results, "--test")
    finally:
        aside.rename(kept)
    assert done.returncode == 1
    assert f"the checkpoint of trial {trial} of `tiny`, {checkpoint}, is gone" in done.stderr
    assert "Traceback" not in done.stderr
    assert best(results)["test_looks"] == []
