"""What a study does besides training: it prepares backbones, warns of doubtful data, scores other images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import ONLY_WEIGHTS, study_error, study_json, study_stdout

from study.data.synthetic_faces import write_folder

pytestmark = pytest.mark.usefixtures("formats_checked_here")
STUDY = """\
name: three
objective: {{metric: shifted.dark.macro_recall, mode: max}}
data:
  source: folder
  path: {folder}
  image_size_px: 32
  classes: {{chin: improper, nose: improper}}
  shifted: {{dark: {dark}}}
trial: {{depth: 10, init: rotation, max_epochs: 2, batch_size: 16,
  ema_decay: 0.9, schedule: cosine, warmup_epochs: 0.5}}
rotation: {{epochs: 1}}
space:
  optimizer: {{choice: [adamw, rmsprop]}}
design: grid
resources: {{gpus_per_trial: 0, max_concurrent_trials: 1}}
"""


def lay_out(folder: Path) -> None:
    """Write faces by what they wear, with the validation images copied from training: a mistake people make."""
    write_folder(folder / "made", 160, seed=2, size_px=48)
    for split in ("train", "val"):
        for file in sorted((folder / "made" / "train").rglob("*.jpg")):
            kind = file.stem.split("_")[1]
            target = folder / "pictures" / split / kind / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if split == "train" or int(file.stem.split("_")[0]) % 2:
                target.write_bytes(file.read_bytes())
    for kind in ("masked", "nose"):
        for at, file in enumerate(sorted((folder / "made" / "test").rglob(f"*_{kind}.jpg"))[:6]):
            target = folder / "dark" / kind / f"{at}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_cluster: None) -> Path:
    made = tmp_path_factory.mktemp("training")
    lay_out(made)
    (made / "three.yaml").write_text(STUDY.format(folder=made / "pictures", dark=made / "dark"))
    ran = study_stdout("run", made / "three.yaml", "--results", made / "results")
    (made / "screen.txt").write_text(ran)
    return made


def shown(folder: Path, name: str = "three") -> Any:
    return study_json("show", name, "--results", folder / "results")


def test_duplicates_across_the_splits_are_said_and_kept(folder: Path) -> None:
    (notice,) = [notice for notice in shown(folder)["notices"] if "near-duplicate" in notice]
    assert notice in (folder / "screen.txt").read_text()
    assert "100" in notice, "every validation image is a copy"


def test_a_backbone_is_pretrained_once_for_all_trials(folder: Path) -> None:
    screen = (folder / "screen.txt").read_text()
    assert screen.count("init rotation: resnet 10 took") == 1
    stored = list((folder / "results" / "studies" / "three" / "pretrained").iterdir())
    assert [path.name.split("-")[:3] for path in stored] == [["rotation", "resnet", "10"]]


def test_every_epoch_is_scored_where_the_shifted_set_is_the_objective(folder: Path) -> None:
    for record in shown(folder)["records"]:
        values = [epoch["values"]["shifted.dark.macro_recall"] for epoch in record["history"]]
        assert record["value"] == max(values)
        assert record["metrics"]["shifted.dark.macro_recall"] == record["value"]
        assert {"val_auc", "val_recall.improper", "shifted.dark.recall.masked"} <= set(record["metrics"])
        assert "shifted.dark.auc" not in record["metrics"], "a class that is not there has no AUC"


def test_another_study_goes_on_from_a_run(folder: Path) -> None:
    run_id = study_json("best", "three", "--results", folder / "results")["run_id"]
    again = ("--set", f"trial.init=run:{run_id}", "--name", "warm", "--trials", 1)
    study_stdout("run", folder / "three.yaml", *again, "--results", folder / "results")
    (record,) = shown(folder, "warm")["records"]
    assert record["config"]["init"] == f"run:{run_id}"


@pytest.mark.usefixtures("weights_fetched_here")
def test_weights_of_a_run_that_do_not_fit_are_refused(folder: Path) -> None:
    run_id = study_json("best", "three", "--results", folder / "results")["run_id"]
    wrong = ("--set", f"trial.init=run:{run_id}", "--name", "wrong", "--trials", 1, "--set", "trial.depth=18")
    refused = study_error("run", folder / "three.yaml", *wrong, "--results", folder / "results")
    assert "layer `layer1.1.conv1.weight`" in refused
    assert not (folder / "results" / "studies" / "wrong").exists()


def test_a_bundle_of_three_classes_scores_each(folder: Path) -> None:
    out = folder / "bundle"
    study_stdout("export-best", *ONLY_WEIGHTS, "three", "--results", folder / "results", "--out", out)
    config = json.loads((out / "config.json").read_text())
    assert config["classes"] == ["improper", "masked", "unmasked"]
    assert config["architecture"]["outputs"] == 3
    assert config["positive_class"] is None
    assert config["test"]["note"] == "the study keeps none"
