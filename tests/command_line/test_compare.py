"""What compare, best and show say of replicates, several objectives and weights that are gone; no study is run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import invoke
from ranking_kit import F, P, record, table
from typer.testing import Result

from cli.queries.ranking import rank_study, require_best
from cli.queries.study_handle import StudyInFolder
from study.config.search_config import BudgetSpec, DesignSpec, KeepSpec, Objective, ReplicatesSpec, SearchSpec
from study.config.study_config import StudySpec
from study.errors import StudyStorageError, UsageError
from study.paths import StudyLayout
from study.records import DataSummary, StopReason, TrialRecord

DATA = DataSummary("faces", "f" * 64, 32, ("no", "yes"), {"val": 400}, {"val": {"no": 200, "yes": 200}})
SEEDS = ReplicatesSpec(seeds=(7, 8, 9))
OBJECTIVES = (Objective(metric="val_auc", mode="max"), Objective(metric="latency_ms", mode="min"))
TRIAL_KEYS = {
    "study", "trial", "rank", "state", "stop_reason", "run_id", "metric", "value", "epoch", "checkpoint", "kept",
    "params", "metrics", "seed", "drawn_seed", "replicate", "point", "error",
}  # fmt: skip
Show = Callable[..., None]


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Show:
    """Return what puts records in the place of every study that a command opens."""

    def put(records: Sequence[TrialRecord], **spec: Any) -> None:
        facts: Any = SimpleNamespace(
            spec=StudySpec(name="s", **spec), name="s", data=DATA, looks=(), notices=(), created_at_s=1.0,
            planned=9, warm_start=(1, 2), end_reason=StopReason.TIME_BUDGET, records=list(records),
            extensions=({"at_s": 0.0, "changes": {"budget.trials": [4, 5]}},),
        )  # fmt: skip
        study = StudyInFolder(facts, StudyLayout(tmp_path), "finished")
        for module in ("cli.queries.server_queries", "cli.views.study", "cli.commands.results.best"):
            monkeypatch.setattr(f"{module}.open_study", lambda results, name, epochs=False: study)
        monkeypatch.setattr(
            "cli.commands.results.best.fault_of_checkpoint", lambda study, record: None
        )  # there are no files

    return put


def call(*arguments: str) -> Result:
    return invoke(*arguments, columns=200)


def asked(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


def line(done: Result, word: str) -> list[str]:
    return next(text for text in done.stdout.splitlines() if word in text).split()


def latencies(*pairs: tuple[float, float]) -> list[TrialRecord]:
    return [record(at, {"val_auc": auc, "latency_ms": ms, "val_f1": 0.5}) for at, (auc, ms) in enumerate(pairs)]


def test_with_one_replicate_trials_are_ranked_as_ever(stored: Show) -> None:
    stored([record(0, 0.7), record(1, 0.9)])
    rows = asked("compare")
    assert [(row["trial"], row["rank"], row["value"]) for row in rows] == [(1, 1, 0.9), (0, 2, 0.7)]
    assert all(set(row) == {*TRIAL_KEYS, "rank_low", "rank_high"} for row in rows)
    assert line(call("compare"), "state") == [
        "rank",
        "may",
        "be",
        "trial",
        "state",
        "val_auc",
        "epoch",
        "optimizer",
        "time",
    ]
    best = asked("best")
    assert set(best) == TRIAL_KEYS | {
        "certainty", "checkpoint_fault", "test", "test_looks", "registered", "recommended",
    }  # fmt: skip
    assert set(best["certainty"]) == {
        "lead", "standard_error", "tied", "text", "verdict", "about", "basis", "may_be_best", "low", "high", "p",
        "winner_value", "level", "so_far",
    }  # fmt: skip
    assert "which configuration: unknown, each ran once" in best["certainty"]["text"]


def test_replicates_are_ranked_by_their_mean_and_the_lucky_one_comes_after(stored: Show) -> None:
    stored(table([0.70, 0.80, 0.90], [0.95, (0.2, P)], [0.6, 0.7, 0.95]), replicates=SEEDS)
    rows = asked("compare")
    assert [(row["point"], row["rank"], row["whole"]) for row in rows] == [(0, 1, True), (2, 2, True), (1, 3, False)]
    assert {key: rows[0][key] for key in ("replicates", "n", "complete", "trials", "trial", "value")} == {
        "replicates": 3, "n": 3, "complete": 3, "trials": [0, 1, 2], "trial": 2, "value": 0.90
    }  # fmt: skip
    assert (rows[0]["mean"], rows[0]["sd"]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert rows[0]["se"] == pytest.approx(0.1 / 3**0.5)
    assert (rows[2]["sd"], rows[2]["n"]) == (None, 1)
    done = call("compare", "--columns", "val_auc")
    headings = ["rank", "may", "be", "point", "state", "seeds", "val_auc", "sd", "best", "trial", "optimizer", "time"]
    assert line(done, "state") == headings
    assert line(done, "PRUNED") == ["3", "-", "1", "PRUNED", "1/3", "0.9500", "-", "0.9500", "3", "sgd", "6s"]
    assert "fewer seeds to the end" in done.stdout
    assert "fewer seeds to the end" not in call("compare", "--top", "2").stdout


def test_single_trials_are_ranked_when_asked_for(stored: Show) -> None:
    stored(table([0.70, 0.80, 0.90], [0.95]), replicates=SEEDS)
    rows = asked("compare", "--trials", "--top", "2")
    assert [(row["trial"], row["point"], row["replicate"]) for row in rows] == [(3, 1, 0), (2, 0, 2)]
    shown = call("compare", "--trials")
    assert line(shown, "state")[:5] == ["rank", "trial", "point", "seed", "state"]
    assert line(shown, "0.9000")[:4] == ["2", "2", "0", "9"]


def test_the_seed_of_a_trial_is_the_same_in_every_format(stored: Show) -> None:
    stored(
        [replace(record, seed=1000 + record.trial) for record in table([0.70, 0.80, 0.90], [0.95])], replicates=SEEDS
    )
    told = {row["trial"]: (row["seed"], row["drawn_seed"]) for row in asked("compare", "--trials")}
    assert told == {0: (7, 1000), 1: (8, 1001), 2: (9, 1002), 3: (7, 1003)}
    shown = csv.DictReader(call("compare", "--trials", "--format", "csv").stdout.splitlines())
    assert {int(row["trial"]): int(row["seed"]) for row in shown} == {trial: seed for trial, (seed, _) in told.items()}
    assert (asked("best")["seed"], asked("best")["drawn_seed"]) == (9, 1002)


@pytest.mark.parametrize("trials", [True, False])
def test_no_column_is_there_twice(stored: Show, trials: bool) -> None:
    stored(table([0.70, 0.80, 0.90], [0.95]), replicates=SEEDS)
    asked_for = "rank,trial,point,state,epoch,seed,optimizer,val_auc" if trials else "rank,point,complete,state,val_auc"
    command = ("compare", "--columns", asked_for, *(["--trials"] if trials else []))
    written = next(csv.reader(call(*command, "--format", "csv").stdout.splitlines()))
    shown = line(call(*command), "state")
    for headings in (written, shown):
        assert len(headings) == len(set(headings))
        assert set(asked_for.split(",")) <= set(headings)


def test_best_of_replicates_is_the_best_mean_and_hands_over_its_best_trial(stored: Show) -> None:
    records = table([0.70, 0.80, 0.90], [0.68, 0.781, 0.95])
    records[5] = record(5, 0.80, point=1, replicate=2, kept=False)
    stored(records, replicates=SEEDS)
    best = asked("best")
    assert (best["trial"], best["value"], best["point"], best["rank"]) == (2, 0.9, 0, 1)
    assert best["certainty"]["seeds"] == 3
    assert best["certainty"]["lead"] == pytest.approx((0.02 + 0.019 + 0.1) / 3)
    screen = call("best").stdout
    assert "best of s by mean val_auc: configuration 0 (3 of 3 seeds ran to the end)" in screen
    assert "0.80000 mean, standard deviation 0.10000 between seeds" in screen
    assert "trials/2 (trial 2, seed 9: the best of them, 0.90000 at epoch 2 of 2)" in screen
    assert "certain?     undecided: 2 of 2 may be the best" in screen
    ranking, winner = require_best(Path(), None, None, None)
    assert (winner.record.trial, winner.value, len(ranking.rows)) == (2, 0.9, 6)


def test_weights_that_are_gone_are_said_with_the_way_to_make_them_again(stored: Show) -> None:
    stored([record(0, 0.9, kept=False), record(1, 0.8)])
    again = re.search(r"not kept \(keep.per_study\); `(.*)` makes them again", call("best").stdout)
    assert again is not None
    assert re.fullmatch(r"study rerun s/0 --results \S+ --save DIR", again[1])
    assert asked("best")["kept"] is False
    stored([record(0, 0.9), record(1, 0.8, kept=False)])
    assert "not kept" not in call("best").stdout


def test_several_objectives_give_a_front_and_no_winner(stored: Show) -> None:
    stored(latencies((0.9, 5.0), (0.8, 3.0), (0.7, 4.0)), objectives=OBJECTIVES)
    rows = asked("compare")
    assert [(row["trial"], row["rank"]) for row in rows] == [(0, 1), (1, 1), (2, 2)]
    assert rows[1]["objectives"] == {"val_auc": 0.8, "latency_ms": 3.0}
    shown = call("compare", "--columns", "latency_ms,val_f1")
    assert line(shown, "state")[:6] == ["rank", "trial", "state", "val_auc", "latency_ms", "val_f1"]
    assert "val_auc (max) and latency_ms (min); rank 1 is the front" in shown.stdout
    answer = asked("best")
    assert [row["trial"] for row in answer["front"]] == [0, 1]
    assert answer["objectives"] == [{"metric": objective.metric, "mode": objective.mode} for objective in OBJECTIVES]
    assert answer["certainty"]["text"] == (
        "not known: 2 of 3 are on the front as measured; how much images and seeds blur val_auc is not known"
        "; epochs and an adaptive search chose too: only the test images are untouched"
    )
    assert [row["trial"] for row in answer["may_be_on_front"]] == [2]
    screen = call("best").stdout
    assert "--metric val_auc" in screen
    front, others = screen.split("may be on the front as well:")
    assert "0.7000" not in front
    assert "0.7000" in others
    with pytest.raises(UsageError, match="no single best trial; name one to choose by"):
        call("best", "--register", "masks")
    with pytest.raises(UsageError, match="--register needs a name"):
        call("best", "--register", "")


def test_a_metric_that_is_named_picks_one_of_the_front(stored: Show) -> None:
    stored(latencies((0.9, 5.0), (0.8, 3.0), (0.7, 4.0)), objectives=OBJECTIVES)
    assert asked("best", "--metric", "latency_ms")["trial"] == 1
    assert [row["trial"] for row in asked("compare", "--metric", "latency_ms")] == [1, 2, 0]
    with pytest.raises(UsageError, match=r"several objectives.*--metric val_auc"):
        call("best", "--test")
    with pytest.raises(UsageError, match="no single best trial"):
        require_best(Path(), None, None, None)


def test_a_front_of_replicates_is_one_of_means(stored: Show) -> None:
    records = [
        record(2 * point + at, {"val_auc": auc, "latency_ms": ms}, point=point, replicate=at, kept=at == 0)
        for point, row in enumerate([[(0.7, 3.0), (0.9, 5.0)], [(0.9, 9.0), (0.6, 9.0)], [(0.6, 1.0), (0.6, 1.0)]])
        for at, (auc, ms) in enumerate(row)
    ]
    stored(records, objectives=OBJECTIVES, replicates=ReplicatesSpec(count=2))
    front = asked("best")["front"]
    assert [(row["point"], row["objectives"]) for row in front] == [
        (0, {"val_auc": pytest.approx(0.8), "latency_ms": 4.0}),
        (2, {"val_auc": 0.6, "latency_ms": 1.0}),
    ]
    screen = call("best").stdout
    assert "weights not kept (keep.per_study): trial 1" in screen
    assert "not known: 2 of 3 are on the front as measured" in screen


def test_nothing_that_ended_with_a_checkpoint_is_said(stored: Show) -> None:
    for records, words in (
        ([record(0, None, F)], "needs one that ended with a checkpoint"),
        ([record(0, {"val_auc": 0.5})], "needs a number for val_auc and latency_ms, but none of the 1 trials"),
    ):
        stored(records, objectives=OBJECTIVES)
        with pytest.raises(StudyStorageError, match=words):
            call("best")
        assert asked("compare")[0]["rank"] is None


def test_show_tells_the_plan_and_why_it_ended(stored: Show) -> None:
    stored(
        table([0.70, 0.80, 0.90], [(0.95, P)]), replicates=SEEDS, warm_start=("old",), keep=KeepSpec(per_study=2),
        design=DesignSpec(kind="one_factor", baseline={"optimizer": "sgd"}),
        budget=BudgetSpec(trials=5, wall_clock="1 h", target={"val_auc": 0.99}, failures=3),
    )  # fmt: skip
    screen = call("show").stdout
    for text in (
        "design     one factor, baseline optimizer=sgd, pruner none, seed 0",
        "replicates each point with the seeds 7, 8, 9",
        "budget     5 trials, 1 h, until val_auc reaches 0.99, until 3 trials failed",
        "weights    those of the best 2 trials",
        "warm start old: 2 earlier points",
        "budget.trials 4 -> 5",
        "ended      before its time: time budget",
        "objective  max val_auc, best mean so far 0.80000",
        "4 of 9 trials",
        "2 configurations by mean val_auc",
    ):
        assert text in screen
    assert asked("show")["end_reason"] == "time budget"


def test_show_names_every_objective(stored: Show) -> None:
    stored(latencies((0.9, 5.0), (0.8, 3.0)), objectives=OBJECTIVES, search=SearchSpec(sampler="nsga2"))
    screen = call("show").stdout
    assert "max val_auc, min latency_ms; the first selects a trial's epoch" in screen
    assert "search     nsga2, pruner none" in screen


@pytest.mark.parametrize("replicates", [1, 3])
@pytest.mark.parametrize("objectives", [(), OBJECTIVES])
def test_ten_thousand_trials_are_all_ranked(replicates: int, objectives: tuple[Objective, ...], stored: Show) -> None:
    records = [
        record(at, {"val_auc": at * 7919 % 10007 / 10007, "latency_ms": float(at * 104729 % 997), "val_loss": 0.5},
               point=at // replicates, replicate=at % replicates)
        for at in range(10_000)
    ]  # fmt: skip
    stored(records, objectives=objectives, replicates=ReplicatesSpec(count=replicates))
    ranking = rank_study(Path(), None, None, None)
    assert len(ranking.rows) == 10_000
    assert len(ranking.configurations) == (0 if replicates == 1 else 3334)


def test_a_metric_that_no_trial_reports_is_said_with_those_there_are(stored: Show) -> None:
    stored([record(0, {"val_auc": 0.7, "val_recall.yes": 0.5, "epoch_s": 1.0}), record(1, None, F)])
    for command in ("compare", "best"):
        for metric in ("val_recall.typo", "shifted.typo.auc"):
            with pytest.raises(
                UsageError, match=rf"no trial reports `{metric}`.* There are: epoch_s, val_auc, val_recall.yes$"
            ):
                call(command, "--metric", metric)
    stored([record(0, {"val_auc": float("nan")})])
    assert asked("compare", "--metric", "val_auc")[0]["rank"] is None
    with pytest.raises(
        StudyStorageError, match="needs a number for val_auc, but none of the 1 trials of `s` that ended with"
    ):
        call("best", "--metric", "val_auc")
    stored([record(1, None, F)])
    assert asked("compare", "--metric", "val_recall.typo")[0]["rank"] is None
