"""compare of two: trials, configurations or groups, paired where they were scored on the same images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import earlier_results
import numpy as np
import pytest
from commands import study, study_json
from predicted_study import ABLATION, sgd_is_worse, store
from ranking_kit import record

from cli.queries.pair import Side, compare_sides
from cli.queries.ranking import Ranking
from study.analysis.ranking import rank_configurations, rank_trials
from study.config.search_config import Objective
from study.paths import SCORES
from study.records import TrialRecord
from study.training.metrics import evaluate

IMAGES = 600
LABELS = np.arange(IMAGES) % 2
HARD = np.random.default_rng(0).standard_normal(IMAGES)
AUC = (Objective(metric="val_auc", mode="max"),)


def _trial(
    folder: Path, number: int, lead: float, point: int, replicate: int = 0, params: Mapping[str, str] | None = None
) -> TrialRecord:
    logits = lead * (LABELS - 0.5) + HARD + 0.3 * np.random.default_rng(number + 1).standard_normal(IMAGES)
    checkpoint = folder / f"trial{number}"
    checkpoint.mkdir()
    np.savez(checkpoint / SCORES, scores=1 / (1 + np.exp(-logits)), labels=LABELS, ids=np.arange(IMAGES))
    metrics = {f"val_{key}": value for key, value in evaluate(logits, LABELS, ("no", "yes")).items()}
    made = record(number, metrics, point=point, replicate=replicate)
    return replace(made, checkpoint=str(checkpoint), params=dict(params or {}))


def _side(name: str, records: Sequence[TrialRecord], seeds: int = 1, fingerprint: str = "f") -> Side:
    configurations = tuple(rank_configurations(records, AUC, seeds)) if seeds > 1 else ()
    ranking = Ranking("s", "val_auc", "max", rank_trials(records, AUC), (300, 300), configurations, seeds,
                      studies=("s",), classes=("no", "yes"))  # fmt: skip
    points = dict.fromkeys(each.point for each in records)
    trials = tuple(tuple(each for each in records if each.point == point) for point in points)
    return Side(name, ranking, fingerprint, trials)


def test_two_trials_are_paired_image_by_image(tmp_path: Path) -> None:
    first, second = _trial(tmp_path, 0, 3.0, 0), _trial(tmp_path, 1, 2.4, 1)
    pair = compare_sides(_side("s/0", [first]), _side("s/1", [second]), tmp_path)
    assert (pair.is_paired, pair.basis, pair.is_certain) == (True, "predictions", True)
    assert pair.contrast.value == pytest.approx(first.metrics["val_auc"] - second.metrics["val_auc"], abs=1e-6)
    assert pair.text.startswith("s/0 is better than s/1 by val_auc: +0.0")
    assert pair.text.endswith("on images like these; which configuration: unknown, each ran once")
    assert pair.shares == (0.0, 1.0)
    turned = compare_sides(_side("s/1", [second]), _side("s/0", [first]), tmp_path)
    assert turned.text.startswith("s/0 is better than s/1 by val_auc: -0.0")
    unpaired = compare_sides(_side("s/0", [first]), _side("t/1", [second], fingerprint="g"), tmp_path)
    assert not unpaired.is_paired
    assert unpaired.contrast.high - unpaired.contrast.low > 1.5 * (pair.contrast.high - pair.contrast.low)
    assert unpaired.notes == ("warning: not compared image by image, because their data differ; the interval is wider",)


def test_other_images_or_order_are_not_paired(tmp_path: Path) -> None:
    sides = [_side("s/0", [_trial(tmp_path, 0, 3.0, 0)]), _side("s/1", [_trial(tmp_path, 1, 2.4, 1)])]
    file = tmp_path / "trial1" / SCORES
    with np.load(file) as stored:
        arrays = dict(stored)
    np.savez(file, **{key: array[::-1] for key, array in arrays.items()})
    pair = compare_sides(sides[0], sides[1], tmp_path)
    assert not pair.is_paired
    assert "in another order" in pair.notes[0]


def test_without_predictions_one_run_each_decides_nothing(tmp_path: Path) -> None:
    sides = [_side("s/0", [_trial(tmp_path, 0, 5.0, 0)]), _side("s/1", [_trial(tmp_path, 1, 0.5, 1)])]
    pair = compare_sides(sides[0], sides[1], None)
    assert (pair.basis, pair.is_certain) == ("counts", False)
    assert pair.text.startswith("undecided between s/0 and s/1")
    assert "judged by values alone" in pair.notes[0]


def test_configurations_are_compared_over_seeds_and_images(tmp_path: Path) -> None:
    sides = [
        _side(f"configuration {point}", [_trial(tmp_path, 4 * point + s, lead, point, s) for s in range(4)], 4)
        for point, lead in enumerate((3.0, 2.0))
    ]
    pair = compare_sides(sides[0], sides[1], tmp_path)
    assert pair.text.startswith("configuration 0 is better than configuration 1 by val_auc: +0.0")
    assert "ran once" not in pair.text
    seeds, images = pair.shares
    assert seeds > 0.0
    assert images > 0.0
    assert seeds + images == pytest.approx(1)


@pytest.mark.parametrize("fingerprint", ["f", "other"])
def test_one_run_against_several_is_never_certain(tmp_path: Path, fingerprint: str) -> None:
    several = _side("a", [_trial(tmp_path, seed, 1.0, 0, seed) for seed in range(3)], 3)
    once = _side("b", [_trial(tmp_path, 9, 6.0, 1)], fingerprint=fingerprint)
    pair = compare_sides(once, several, tmp_path)
    assert pair.contrast.value > 0.1
    assert (pair.is_certain, pair.contrast.p >= 0.05, pair.contrast.low <= 0) == (False, True, True)
    assert pair.text.startswith("undecided between b and a")
    assert pair.notes[-1] == "b ran once, so nothing is known of its spread, and no claim is made about it"


def test_an_interval_inside_what_matters_is_practically_the_same(tmp_path: Path) -> None:
    sides = [_side("s/0", [_trial(tmp_path, 0, 3.0, 0)]), _side("s/1", [_trial(tmp_path, 1, 2.9, 1)])]
    widest = max(
        map(abs, (compare_sides(*sides, tmp_path).contrast.low, compare_sides(*sides, tmp_path).contrast.high))
    )
    for matters, is_same in ((1.01 * widest, True), (0.99 * widest, False)):
        pair = compare_sides(*sides, tmp_path, matters)
        assert pair.as_json()["practically_the_same"] is is_same
        assert ("practically the same, within +-" in pair.text) is is_same
    assert "practically_the_same" not in compare_sides(*sides, tmp_path).as_json()


def test_groups_are_compared_by_their_means_and_what_else_differs_is_said(tmp_path: Path) -> None:
    def group(optimizer: str, depths: Sequence[int], lead: float, start: int) -> list[TrialRecord]:
        return [
            _trial(tmp_path, start + at, lead, start + at, 0, {"optimizer": optimizer, "depth": str(depth)})
            for at, depth in enumerate(depths)
        ]

    adam = _side("`optimizer = 'adam'`", group("adam", (10, 18), 3.0, 0))
    sgd = _side("`optimizer = 'sgd'`", group("sgd", (10, 18), 2.4, 10))
    pair = compare_sides(adam, sgd, tmp_path)
    assert pair.text.startswith("`optimizer = 'adam'` is better than `optimizer = 'sgd'` by val_auc: +0.0")
    assert pair.notes == ()
    other = _side("`depth = 34`", group("sgd", (34, 34), 2.4, 20))
    assert compare_sides(adam, other, tmp_path).notes == (
        "the groups differ in optimizer, depth, which all are part of this difference",
    )


def test_two_configurations_are_judged_alike_however_they_are_named(tmp_path: Path) -> None:
    store(tmp_path, ABLATION, sgd_is_worse)
    named = study_json("compare", "ablation/0", "ablation/1", "--results", tmp_path)
    asked = ("--where", "point = 0", "--where", "point = 1")
    grouped = study_json("compare", "ablation", *asked, "--results", tmp_path)
    numbers = ("value", "low", "high", "p", "se_seed", "se_image", "verdict")
    assert {key: grouped[key] for key in numbers} == {key: named[key] for key in numbers}


def test_the_command_compares_two_trials_and_two_groups(tmp_path: Path) -> None:
    results = earlier_results.unpack(tmp_path)
    done = study("compare", "before/0", "before/1", "--results", results)
    assert done.returncode == 0, done.stderr
    sentence, *table = done.stdout.splitlines()
    assert sentence.startswith("undecided between before/0 and before/1 by val_auc: +0.033 (")
    assert sentence.endswith("which configuration: unknown, each ran once")
    assert any(
        line.split() == ["before/0", "before/1", "difference", "95", "%", "p", "seeds", "images"] for line in table
    )
    answer = json.loads(study("compare", "before/1", "before/0", "--results", results, "--json").stdout)
    assert (answer["verdict"], answer["paired"], answer["first"]) == ("undecided", True, "before/1")
    assert answer["value"] == pytest.approx(-0.0333, abs=1e-3)
    groups = study("compare", "--results", results, "--where", "trial = 0", "--where", "trial = 1", "--json")
    assert json.loads(groups.stdout)["value"] == pytest.approx(0.0333, abs=1e-3)
    for arguments, words in (
        (("before/0",), "two trials are compared with each other"),
        (("before/0", "before/0"), "two that are compared must differ, but both are before/0"),
        (("before", "--matters", "0.1"), "--matters goes with two trials or two --where"),
        (("before", "--where", "trial = 0", "--where", "trial >= 0"), "must not match the same"),
        (("before", "--where", "trial = 0", "--where", "trial = 9"), "nothing that ended with a checkpoint"),
        (("before/0", "before/2"), "before/2 cannot be compared"),
    ):
        refused = study("compare", *arguments, "--results", results)
        assert refused.returncode == 2
        assert words in refused.stderr
