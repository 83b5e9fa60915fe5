"""The recipes of the five reports run, on the built-in faces and on a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, study_json, study_stdout

from study.config_file import load_spec
from study.data.synthetic_faces import write_folder

pytestmark = pytest.mark.usefixtures("shared_cluster", "weights_fetched_here")
RECIPES = sorted((ROOT / "search_spaces" / "recipes").glob("*.yaml"))
SETTINGS = ("trial.max_epochs=1", "data.image_size_px=32", "resources.max_concurrent_trials=1")
SMALL = tuple(word for setting in SETTINGS for word in ("--set", setting))


def trials_of(results: Path) -> Any:
    return study_json("show", "--results", results)["records"]


def test_every_report_has_its_recipe() -> None:
    assert [path.stem for path in RECIPES] == [
        "adam_depth_152",
        "frozen_v2_head",
        "imbalanced_improper",
        "init_and_augmentation",
        "sgd_momentum",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_its_report_claims(path: Path) -> None:
    comment = "".join(line for line in path.read_text().splitlines(True) if line.startswith("#"))
    assert "claims" in comment
    assert "#   1. " in comment
    spec = load_spec(path, ["data.source=faces"]).spec
    assert (spec.design.kind, spec.pruner) == ("grid", "none"), "an ablation runs every setting to its end"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_on_the_built_in_faces(path: Path, tmp_path: Path) -> None:
    where = ("--set", "data.source=faces", "--set", "data.count=120", "--trials", "1")
    study_stdout("run", path, *SMALL, *where, "--results", tmp_path)
    (trial,) = trials_of(tmp_path)
    assert trial["state"] == "COMPLETE"
    given = load_spec(path, ["data.source=faces"]).spec.trial.model_dump()
    for name, value in given.items():
        if name not in (*trial["params"], "max_epochs", "momentum"):
            assert trial["config"][name] == (list(value) if isinstance(value, tuple) else value), name


def test_a_recipe_runs_on_a_folder_with_improper_masks_and_photos_by_hand(tmp_path: Path) -> None:
    made = tmp_path / "faces"
    write_folder(made, 60, seed=1, size_px=32)
    pictures, by_hand = tmp_path / "masks", tmp_path / "by_hand"
    for folder in ("wearing_mask", "not_wearing_mask", "improper"):
        (pictures / folder).mkdir(parents=True)
    for at, file in enumerate(sorted((made / "train").rglob("*.jpg"))):
        kind = "wearing_mask" if file.parent.name == "wearing_mask" else ("improper", "not_wearing_mask")[at % 2]
        (pictures / kind / file.name).write_bytes(file.read_bytes())
    for file in sorted((made / "test").rglob("*.jpg")):
        (by_hand / file.parent.name).mkdir(parents=True, exist_ok=True)
        (by_hand / file.parent.name / file.name).write_bytes(file.read_bytes())
    recipe = ROOT / "search_spaces" / "recipes" / "imbalanced_improper.yaml"
    where = ("--set", f"data.path={pictures}", "--set", f"data.shifted.by_hand={by_hand}", "--set", "trial.depth=10")
    study_stdout("run", recipe, *SMALL, *where, "--trials", "1", "--results", tmp_path / "results")
    (trial,) = trials_of(tmp_path / "results")
    assert {"val_recall.wearing_mask", "val_macro_f1", "shifted.by_hand.accuracy"} <= set(trial["metrics"])
