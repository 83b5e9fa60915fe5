"""confirm: which configurations run again, with which seeds, and the study that it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import study, study_json
from predicted_study import ABLATION, SEARCH, store

from study.config_file import load_spec
from study.records import StopReason

TINY = f"""{SEARCH.replace("name: search", "name: tiny")}
data: {{source: faces, image_size_px: 24, count: 80}}
trial: {{depth: 10, max_epochs: 1, batch_size: 16}}
resources: {{cpus_per_trial: 1, gpus_per_trial: 0}}
budget: {{wall_clock: 1 min}}
"""


def _planned(results: Path, *arguments: object) -> Any:
    return study_json("confirm", *arguments, "--dry-run", "--results", results)


def test_of_a_search_the_first_ones_run_again_with_fresh_seeds(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "again.yaml"
    store(results, SEARCH)
    plan = _planned(results, "search", "--top", "3", "--seeds", "4", "--out", out)
    assert (plan["study"], plan["of"], plan["seeds"]) == ("search-confirm", "search", [1, 2, 3, 4])
    rows = json.loads(study("compare", "search", "--results", results, "--json").stdout)
    assert plan["points"] == [row["params"] for row in rows[:3]]
    spec = load_spec(out).spec
    assert out.read_text() == plan["file"]
    assert (spec.design.kind, spec.pruner, spec.replicates.numbers) == ("points", "none", (1, 2, 3, 4))
    assert plan["file"].startswith("# Of search the first 3 of 12 configurations, each with 4 fresh seeds.\n")
    assert not (results / "studies" / "search-confirm").exists()
    printed = study("confirm", "search", "--top", "3", "--seeds", "4", "--dry-run", "--results", results)
    assert printed.stdout == plan["file"]


def test_one_fresh_seed_would_tell_nothing_of_a_configuration(tmp_path: Path) -> None:
    done = study("confirm", "search", "--seeds", "1", "--dry-run", "--results", tmp_path)
    assert done.returncode == 2
    assert "greater than or equal to 2" in done.stderr


def test_of_several_seeds_those_that_may_be_the_best_run_again(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION)
    plan = _planned(results, "ablation")
    assert plan["seeds"] == [3, 4, 5, 6, 7]
    assert len(plan["points"]) == 4
    assert all(point["optimizer"] == "adam" for point in plan["points"])
    assert len(_planned(results, "ablation", "--top", "2")["points"]) == 2
    sure = ABLATION.replace("name: ablation", "name: sure")
    store(results, sure, lambda params: 3.0 if params["depth"] == 34 else 1.0)
    plan = _planned(results, "sure")
    assert len(plan["points"]) == 2
    assert "the configuration that is certain to be the best, and the next" in plan["file"]


def test_seeds_of_an_earlier_confirmation_are_not_fresh(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, ABLATION)
    store(results, ABLATION.replace("name: ablation", "name: ablation-confirm").replace("[0, 1, 2]", "[3, 4, 9]"))
    assert _planned(results, "ablation", "--seeds", "2", "--name", "again")["seeds"] == [10, 11]


def test_what_cannot_be_confirmed_is_refused_with_a_way_out(tmp_path: Path) -> None:
    results, file = tmp_path / "results", tmp_path / "there.yaml"
    file.write_text("")
    store(results, SEARCH, trials=1)
    several = SEARCH.replace("name: search", "name: front").replace(", pruner: none", "")
    objectives = "objectives: [{metric: val_auc, mode: max}, {metric: val_loss, mode: min}]\n"
    store(results, several + objectives)
    store(results, ABLATION)
    store(results, ABLATION.replace("name: ablation", "name: ablation-confirm"))
    for arguments, code, words in (
        (("search",), 2, "at least 2 configurations, but 1 of `search` ended"),
        (("front",), 2, "such as --metric val_auc"),
        (("ablation",), 2, "`ablation-confirm` exists; --name OTHER"),
        (("ablation", "--name", " x"), 2, "name must not begin or end with a blank"),
        (("ablation", "--out", file, "--name", "x"), 2, "--out must be a new file"),
        (("ablation", "--top", "1"), 2, "--top"),
        (("nothing",), 1, "no study `nothing`"),
    ):
        refused = study("confirm", *arguments, "--results", results)
        assert (refused.returncode, words in refused.stderr) == (code, True), (arguments, refused.stderr)
    assert _planned(results, "front", "--metric", "val_auc")["study"] == "front-confirm"


@pytest.mark.usefixtures("shared_cluster")
def test_it_runs_as_a_study_of_its_own_whose_verdict_is_about_configurations(tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, TINY, ended=lambda run: StopReason.PRUNED if run.trial % 2 else StopReason.FINISHED)
    done = study_json("confirm", "tiny", "--top", "2", "--seeds", "2", "--results", results)
    assert done["counts"]["COMPLETE"] == 4
    best = json.loads(study("best", "tiny-confirm", "--results", results, "--json").stdout)
    assert best["certainty"]["about"] == "configurations"
    shown = json.loads(study("show", "tiny-confirm", "--results", results, "--json").stdout)
    assert shown["trials"]
