"""best and compare by the predictions that trials stored: what they say, and when they cannot be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import study_stdout
from predicted_study import ABLATION, store
from ranking_kit import P, record

from cli.commands.results.best import print_best
from cli.queries.front import judge_front
from cli.queries.ranking import Ranking
from cli.queries.stored_predictions import NoPredictionsError, judge_stored
from cli.queries.verdict import certainty_of, judge_ranking, recommend_of
from cli.views.leaderboard import configuration_json, configuration_table, trial_json, trial_table
from study.analysis.ranking import rank_configurations, rank_trials
from study.config.search_config import Objective
from study.paths import SCORES
from study.records import TrialRecord, TrialState
from study.training.metrics import evaluate

IMAGES = 400
CLASSES = ("no", "yes")
LABELS = np.arange(IMAGES) % 2


def _trial(
    folder: Path, number: int, lead: float, *, point: int | None = None, replicate: int = 0,
    state: TrialState = TrialState.COMPLETE,
) -> TrialRecord:  # fmt: skip
    """Store the predictions of a trial, and return its record with the metrics they have."""
    rng = np.random.default_rng(number)
    logits = lead * (LABELS - 0.5) + rng.standard_normal(IMAGES)
    checkpoint = folder / f"trial{number}"
    checkpoint.mkdir()
    np.savez(checkpoint / SCORES, scores=1 / (1 + np.exp(-logits)), labels=LABELS)
    metrics = {f"val_{key}": value for key, value in evaluate(logits, LABELS, CLASSES).items()}
    made = record(number, metrics, state, point=point, replicate=replicate)
    return replace(made, checkpoint=str(checkpoint))


def _ranking(
    records: Sequence[TrialRecord], metric: str = "val_auc", *, seeds: int = 1, baseline: int | None = None
) -> Ranking:
    objectives = (Objective(metric=metric, mode="min" if metric == "val_loss" else "max"),)
    configurations = tuple(rank_configurations(records, objectives, seeds)) if seeds > 1 else ()
    return Ranking("s", metric, objectives[0].mode, rank_trials(records, objectives), (200, 200), configurations,
                   seeds, studies=("s",), classes=CLASSES, baseline=baseline)  # fmt: skip


def _seeds(folder: Path, leads: Mapping[int, float], seeds: int = 3) -> list[TrialRecord]:
    return [
        _trial(folder, point * seeds + seed, lead, point=point, replicate=seed)
        for point, lead in leads.items()
        for seed in range(seeds)
    ]


@pytest.mark.parametrize("metric", ["val_auc", "val_accuracy", "val_f1", "val_loss", "val_recall.yes"])
def test_a_clear_lead_of_one_run_is_one_of_a_checkpoint(tmp_path: Path, metric: str) -> None:
    ranking = _ranking([_trial(tmp_path, 0, 1.0), _trial(tmp_path, 1, 4.0), _trial(tmp_path, 2, 0.8)], metric)
    certainty = certainty_of(ranking, tmp_path)
    assert (certainty["verdict"], certainty["about"], certainty["may_be_best"], certainty["tied"]) == (
        "yes",
        "checkpoints",
        [1],
        0,
    )
    assert certainty["text"].startswith("which checkpoint: trial 1, ")
    assert "which configuration: unknown, each ran once" in certainty["text"]
    assert certainty["lead"] > 2 * certainty["standard_error"] > 0
    assert certainty["winner_value"]["low"] < certainty["winner_value"]["raw"] < certainty["winner_value"]["high"]


def test_a_close_lead_is_undecided_and_trials_stopped_early_are_named(tmp_path: Path) -> None:
    records = [_trial(tmp_path, 0, 2.0), _trial(tmp_path, 1, 2.0), _trial(tmp_path, 2, 1.9, state=P)]
    certainty = certainty_of(_ranking(records), tmp_path)
    assert certainty["verdict"] == "undecided"
    assert certainty["tied"] >= 1
    assert certainty["text"].endswith("; 1 was stopped early; what it would have become is not known")


def test_seeds_are_judged_together_with_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranking = _ranking(_seeds(tmp_path, {0: 1.5, 1: 4.0, 2: 1.4}), seeds=3, baseline=0)
    certainty = certainty_of(ranking, tmp_path)
    assert (certainty["verdict"], certainty["about"], certainty["may_be_best"]) == ("yes", "configurations", [1])
    assert certainty["text"].startswith("yes: +0.")
    assert certainty["text"].endswith("images); beats each of 2")
    assert (certainty["seeds"], certainty["unjudged"]) == (3, 0)
    best = ranking.configurations[0]
    assert best.best is not None
    print_best(ranking, next(row for row in ranking.rows if row.record is best.best), certainty)
    shown = capsys.readouterr().out
    assert "  to expect    0." in shown
    assert "  certain?     yes: +0." in shown


def test_a_trial_of_a_servers_study_is_rerun_from_its_results_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranking = _ranking([replace(_trial(tmp_path, 0, 1.0), kept=False), _trial(tmp_path, 1, 0.5)])
    ranking = replace(ranking, options=" --tracking-uri http://mlflow")
    for folder_options in ("", " --results there"):
        told = replace(ranking, folder_options=folder_options)
        print_best(told, told.rows[0], certainty_of(told, tmp_path))
        assert f"rerun s/0{folder_options} --save DIR` makes them again" in capsys.readouterr().out


def test_show_has_the_margins_of_differences_to_the_baseline(tmp_path: Path) -> None:
    store(tmp_path / "results", ABLATION)
    shown = study_stdout("show", "ablation", "--results", tmp_path / "results")
    assert len(re.findall(r"[+-]0\.\d{4} \+-0\.\d{4}", shown)) == 4


def test_the_table_has_ranks_that_may_be_and_simultaneous_differences(tmp_path: Path) -> None:
    ranking = _ranking(_seeds(tmp_path, {0: 1.5, 1: 4.0, 2: 1.4}), seeds=3, baseline=0)
    verdict = judge_stored(ranking, tmp_path)
    judged = replace(ranking, rank_intervals=verdict.ranks, baseline_differences=verdict.to_baseline(0))
    table = configuration_table(judged, judged.configurations, [])
    columns = {column.heading: column.cells for column in table.columns}
    assert columns["may be"] == ["1", "2-3", "2-3"]
    rows = [configuration_json(judged, each) for each in judged.configurations]
    assert [(row["rank_low"], row["rank_high"]) for row in rows] == [(1, 1), (2, 3), (2, 3)]
    best = next(row for row in rows if row["point"] == 1)
    assert 0 < best["difference_margin"] < best["difference"]
    assert "difference" not in next(row for row in rows if row["point"] == 0)
    assert "may be" not in {column.heading for column in configuration_table(ranking, [], []).columns}


def test_trials_have_ranks_too(tmp_path: Path) -> None:
    ranking = _ranking([_trial(tmp_path, 0, 1.0), _trial(tmp_path, 1, 4.0)])
    judged = replace(ranking, rank_intervals=judge_stored(ranking, tmp_path).ranks)
    assert [(row["rank_low"], row["rank_high"]) for row in (trial_json(judged, row) for row in judged.rows)] == [
        (1, 1), (2, 2)
    ]  # fmt: skip
    assert "may be" in {column.heading for column in trial_table(judged, judged.rows, []).columns}


def test_a_configuration_with_fewer_seeds_is_set_aside(tmp_path: Path) -> None:
    records = _seeds(tmp_path, {0: 1.5, 1: 3.0})
    records.append(_trial(tmp_path, 20, 5.0, point=2))
    certainty = certainty_of(_ranking(records, seeds=3), tmp_path)
    assert certainty["text"].endswith("; not judged: 1 that ran fewer seeds")
    assert certainty["unjudged"] == 1


def test_what_cannot_be_compared_is_said_and_judged_by_values(tmp_path: Path) -> None:
    records = [_trial(tmp_path, 0, 1.0), _trial(tmp_path, 1, 4.0)]
    plain = _ranking(records)
    cases = [
        (_ranking(records, "val_threshold"), "not measured on images, or its error is not known"),
        (replace(plain, studies=("s", "t")), "within one study of a results folder"),
        (_ranking([replace(records[0], checkpoint="nowhere"), records[1]]), "trial 0 has no predictions"),
        (_ranking([replace(each, metrics={"val_auc": 0.5 + 0.1 * each.trial}) for each in records]),
         "do not give the val_auc that was reported"),
        (replace(plain, mode="min"), "ranked by its worse direction"),
    ]  # fmt: skip
    for ranking, message in cases:
        with pytest.raises(NoPredictionsError, match=message):
            judge_stored(ranking, tmp_path)
        certainty = certainty_of(ranking, tmp_path)
        assert certainty["basis"] in ("counts", "values")
        assert (certainty["verdict"], certainty["winner_value"]) == ("undecided", None)
    with pytest.raises(NoPredictionsError, match="within one study"):
        judge_stored(plain, None)
    other = tmp_path / "trial1" / SCORES
    with np.load(other) as stored:
        np.savez(other, scores=stored["scores"][::-1], labels=1 - stored["labels"])
    with pytest.raises(NoPredictionsError, match="different images, or in another order"):
        judge_stored(plain, tmp_path)


def test_groups_that_were_stored_widen_the_error_and_other_ids_are_not_compared(tmp_path: Path) -> None:
    ranking = _ranking([_trial(tmp_path, 0, 1.0), _trial(tmp_path, 1, 2.0)])
    alone = certainty_of(ranking, tmp_path)["standard_error"]
    for number in (0, 1):
        file = tmp_path / f"trial{number}" / SCORES
        with np.load(file) as stored:
            arrays = dict(stored)
        np.savez(file, **arrays, ids=np.arange(IMAGES), groups=np.arange(IMAGES) // 80)
    grouped = certainty_of(ranking, tmp_path)
    assert grouped["standard_error"] != pytest.approx(alone, rel=0.01)
    assert grouped["verdict"] == "undecided"  # five people cannot decide
    np.savez(file, **arrays, ids=np.arange(IMAGES)[::-1], groups=np.arange(IMAGES) // 80)
    with pytest.raises(NoPredictionsError, match="in another order"):
        judge_stored(ranking, tmp_path)


def test_later_looks_and_running_studies_are_judged_at_a_smaller_level(tmp_path: Path) -> None:
    ranking = _ranking(_seeds(tmp_path, {0: 1.5, 1: 4.0, 2: 1.4}), seeds=3)
    first = certainty_of(ranking, tmp_path)
    later = certainty_of(replace(ranking, look=2, is_interim=True, is_adaptive=True), tmp_path)
    assert (first["level"], first["so_far"], later["level"], later["so_far"]) == (0.05, False, 0.0125, True)
    assert later["high"] - later["low"] > first["high"] - first["low"]
    assert later["text"].startswith("so far: yes: +0.")
    assert later["text"].endswith(
        " (level split over 2 looks); epochs and an adaptive search chose too: only the test images are untouched"
    )
    assert "looks" not in first["text"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_more_than_fifty_are_all_judged(tmp_path: Path, seeds: int) -> None:
    records = _seeds(tmp_path, dict.fromkeys(range(60), 2.0), seeds)
    certainty = certainty_of(_ranking(records, seeds=seeds), tmp_path)
    assert certainty["verdict"] == "undecided"
    assert len(certainty["may_be_best"]) > 50


def _with_parameters(record: TrialRecord, parameters: float) -> TrialRecord:
    return replace(record, metrics={**record.metrics, "parameters": parameters})


def test_a_cheaper_trial_is_recommended_where_it_gives_away_little(tmp_path: Path) -> None:
    records = [_with_parameters(_trial(tmp_path, at, lead), size) for at, (lead, size) in
               enumerate([(3.0, 2e6), (2.9, 1e6), (1.0, 1e5)])]  # fmt: skip
    ranking = _ranking(records)
    leader = ranking.rows[0].record.trial
    verdict = judge_ranking(ranking, tmp_path)
    assert verdict is not None
    careful, generous = recommend_of(ranking, verdict), recommend_of(ranking, verdict, give_away=0.05)
    assert (careful.is_leader, careful.key, careful.winner.record.trial) == (True, leader, leader)
    assert careful.text == f"trial {leader}, the best: no cheaper one surely gives away at most 0.002"
    assert generous.key == 1
    if leader != 1:
        assert 0.0 < generous.gives_away_at_most <= 0.05
        assert generous.text.startswith(
            "trial 1: 1,000,000 parameters instead of 2,000,000, and gives away at most 0.0"
        )
    without = judge_ranking(replace(ranking, class_counts=()), None)
    assert without is not None
    assert recommend_of(replace(ranking, class_counts=()), without, give_away=0.9).is_leader


def test_a_configuration_is_recommended_by_its_best_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [_with_parameters(each, 1e6 * (1 + each.point)) for each in _seeds(tmp_path, {0: 2.9, 1: 3.1})]
    ranking = _ranking(records, seeds=3)
    verdict = judge_ranking(ranking, tmp_path)
    assert verdict is not None
    advice = recommend_of(ranking, verdict, give_away=0.2)
    assert advice.configuration is not None
    assert (advice.key, advice.configuration.point, advice.as_json()["point"]) == (0, 0, 0)
    assert advice.winner.record is advice.configuration.best
    print_best(ranking, advice.winner, verdict.certainty, advice.configuration)
    assert not advice.is_leader
    assert "recommended of s by mean val_auc: configuration 0" in capsys.readouterr().out


def _with_objectives(ranking: Ranking) -> Ranking:
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="parameters", mode="min"))
    rows = rank_trials([row.record for row in ranking.rows], objectives)
    return replace(ranking, objective_list=objectives, rows=rows)


def test_a_trial_leaves_the_front_only_if_another_is_surely_better(tmp_path: Path) -> None:
    records = [_trial(tmp_path, number, lead) for number, lead in enumerate((3.0, 2.95, 0.5, 2.9))]
    sizes = (100.0, 100.0, 100.0, 5.0)
    records = [
        replace(each, metrics={**each.metrics, "parameters": size}) for each, size in zip(records, sizes, strict=True)
    ]
    ranking = _with_objectives(_ranking(records))
    verdict = judge_front(ranking, tmp_path)
    assert set(verdict.may_be) == {0, 1, 3}
    assert 3 in verdict.on_front
    assert verdict.unknown == ()
    assert (
        verdict.text == f"undecided: {len(verdict.on_front)} of 4 are on the front as measured, and 1 more may be on it"
    )
    assert set(judge_front(ranking, None).may_be) == {0, 1, 2, 3}, "a server has no predictions"
    assert judge_front(ranking, None).unknown == ("val_auc",)


def test_a_front_says_what_was_not_judged_and_what_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [_trial(tmp_path, number, lead) for number, lead in enumerate((3.0, 2.95, 2.9, 2.85))]
    ranking = _with_objectives(
        _ranking([replace(trial, metrics={**trial.metrics, "parameters": 100.0}) for trial in trials])
    )
    monkeypatch.setattr("cli.queries.stored_predictions.MOST_JUDGED", 2)
    text = judge_front(ranking, tmp_path).text
    assert "1 of 4 is on the front as measured" in text
    assert text.endswith("; only the best 2 of 4 were judged")
    exact = replace(ranking, objective_list=ranking.objective_list[1:])
    assert "no objective depends on images or seeds" in judge_front(exact, tmp_path).text


def test_only_the_best_of_very_many_are_judged_and_the_verdict_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.queries.stored_predictions.MOST_JUDGED", 3)
    records = [_trial(tmp_path, number, 2.0 - number / 10) for number in range(5)]
    verdict = judge_stored(_ranking(records), tmp_path)
    assert len(verdict.keys) == 3
    assert "only the best 3 of 5 were judged" in verdict.text
    (tmp_path / "seeds").mkdir()
    records = _seeds(tmp_path / "seeds", dict(enumerate((3.0, 2.9, 2.8, 2.7, 0.5))))
    with_baseline = judge_stored(_ranking(records, seeds=3, baseline=4), tmp_path)
    assert len(with_baseline.keys) == 4
    assert 4 in with_baseline.keys, "the baseline is, wherever it ranks"
