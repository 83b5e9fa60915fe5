"""The ranking of trials, and of configurations by the mean over their replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_kit import C, F, P, R, record, table

from study.analysis.ranking import Configuration, rank_configurations, rank_trials, summarize
from study.config.search_config import Objective, SearchSpec
from study.config.search_space import Parameter, Uniform
from study.config.study_config import StudySpec
from study.records import TrialRecord, TrialState

AUC = Objective(metric="val_auc", mode="max")
LOSS = Objective(metric="val_loss", mode="min")


def trial(number: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    metrics = {} if value is None else {"val_auc": value, "val_loss": 1 - value}
    checkpoint = None if value is None or state is TrialState.FAILED else f"trials/{number}"
    return TrialRecord("s", number, state, {}, {}, metrics=metrics, value=value, checkpoint=checkpoint)


def ranked(records: Sequence[TrialRecord], planned: int = 3, *, by_pass: bool = False) -> list[Configuration]:
    return rank_configurations(records, [AUC], planned, by_pass=by_pass)


def test_best_first_and_the_unfinished_last_without_a_rank() -> None:
    records = [
        trial(0, 0.7),
        trial(1, 0.9, TrialState.PRUNED),
        trial(2, 0.99, TrialState.RUNNING),
        trial(3, 0.95, TrialState.FAILED),
        trial(4, 0.8),
    ]
    rows = rank_trials(records, [AUC])
    assert [(row.record.trial, row.rank) for row in rows] == [(1, 1), (4, 2), (0, 3), (2, None), (3, None)]


def test_less_is_better_for_a_loss() -> None:
    rows = rank_trials([trial(0, 0.7), trial(1, 0.9)], [LOSS])
    assert [row.record.trial for row in rows] == [1, 0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_ranks_are_a_permutation_and_equals_keep_their_order(values: list[float]) -> None:
    rows = rank_trials([trial(number, value) for number, value in enumerate(values)], [AUC])
    keys = [(-row.record.metrics["val_auc"], row.record.trial) for row in rows]
    assert keys == sorted(keys)
    assert [row.rank for row in rows] == list(range(1, len(values) + 1))


def test_what_is_no_number_has_no_rank() -> None:
    rows = rank_trials([trial(0, math.nan), trial(1, 0.7)], [AUC])
    assert [(row.record.trial, row.rank) for row in rows] == [(1, 1), (0, None)]


def test_summary_counts_states() -> None:
    momentum = Parameter(name="momentum", domain=Uniform(low=0.0, high=0.9))
    spec = StudySpec(name="s", space=(momentum,), search=SearchSpec(trials=5))
    records = [trial(0, 0.7), trial(1, 0.9, TrialState.PRUNED), trial(2, None, TrialState.FAILED)]
    summary = summarize(spec, "interrupted", records, 1.0, 5)
    assert (summary.trials, summary.complete, summary.pruned, summary.failed, summary.running) == (3, 1, 1, 1, 0)
    assert (summary.planned, summary.best) == (5, 0.9)


def test_equal_places_go_by_loss() -> None:
    first, second = trial(0, 1.0), trial(1, 1.0)
    rows = rank_trials([replace(first, metrics={"val_auc": 1.0, "val_loss": 0.7}), second], [AUC])
    assert [row.record.trial for row in rows] == [1, 0]


def test_trials_go_by_layer_then_by_the_first_objective() -> None:
    objectives = (AUC, Objective(metric="latency_ms", mode="min"))
    values = [(0.8, 3.0), (0.9, 5.0), (0.7, 4.0), (0.8, 3.0)]
    records = [record(at, {"val_auc": auc, "latency_ms": ms}) for at, (auc, ms) in enumerate(values)]
    records += [
        record(4, {"val_auc": 0.99}),
        record(5, {"val_auc": 0.99, "latency_ms": 1.0}, TrialState.RUNNING),
    ]
    records += [record(6, {"val_auc": 0.99, "latency_ms": math.nan})]
    rows = rank_trials(records, objectives)
    expected = [(1, 1), (0, 1), (3, 1), (2, 2), (4, None), (5, None), (6, None)]
    assert [(row.record.trial, row.rank) for row in rows] == expected
    assert rows[0].value == 0.9
    assert rank_trials([], objectives) == []


def test_mean_and_spread_by_hand() -> None:
    first, second = ranked(table([0.7, 0.8, 0.9], [0.9, 0.6, 0.6]))
    assert (first.point, first.rank, first.n, first.planned, first.state) == (0, 1, 3, 3, C)
    assert first.mean == pytest.approx(0.8)
    assert first.sd == pytest.approx(0.1)
    assert first.se == pytest.approx(0.1 / math.sqrt(3))
    assert (second.point, second.rank) == (1, 2)
    assert second.best is not None
    assert (first.best and first.best.trial, second.best.trial) == (2, 3)


def test_a_lucky_single_seed_does_not_outrank_those_that_ran_all() -> None:
    rows = ranked(table([0.8, 0.8, 0.8], [0.99], [0.95, (0.97, P)], [0.7, 0.7, 0.7]))
    assert [(row.point, row.rank, row.is_whole) for row in rows] == [
        (0, 1, True), (3, 2, True), (1, 3, False), (2, 4, False)
    ]  # fmt: skip


def test_a_stopped_seed_does_not_pull_the_mean_of_those_that_ran_to_the_end() -> None:
    (row,) = ranked(table([0.8, (0.1, P)]))
    assert (row.mean, row.sd, row.n, row.complete, row.state) == (0.8, None, 1, 1, P)
    (only,) = ranked(table([(0.1, P)]))
    assert (only.mean, only.n, only.complete, only.rank, only.is_whole) == (0.1, 1, 0, 1, False)


@pytest.mark.parametrize(
    "row, state",
    [
        ([0.8, 0.8, 0.8], C),
        ([0.8, 0.8], TrialState.WAITING),
        ([0.8, F, 0.8], F),
        ([(0.8, P), F, R], R),
        ([0.8, F, (0.8, P)], P),
    ],
)
def test_what_became_of_a_configuration(row: list[float], state: TrialState) -> None:
    (configuration,) = ranked(table(row))
    assert configuration.state is state


def test_without_a_value_a_configuration_has_no_rank() -> None:
    rows = ranked(table([F], [0.8, 0.8, 0.8], [R]))
    assert [(row.point, row.rank, row.mean, row.best is None) for row in rows] == [
        (1, 1, pytest.approx(0.8), False), (0, None, None, True), (2, None, None, True)
    ]  # fmt: skip


def test_a_listed_design_cut_short_is_judged_by_the_seeds_everybody_has() -> None:
    points = ([0.8, 0.8, 0.5], [0.9, 0.7], [0.6, 0.6], [(0.99, P)])
    cut = ranked(table(*points), by_pass=True)
    assert [(row.point, row.is_whole) for row in cut] == [(1, True), (0, True), (2, True), (3, False)]
    searched = ranked(table(*points))
    assert [(row.point, row.is_whole) for row in searched] == [(0, True), (3, False), (1, False), (2, False)]


def test_less_is_better_and_equals_go_by_loss() -> None:
    records = [record(at, {"val_auc": 0.5, "val_loss": loss}) for at, loss in enumerate((0.7, 0.3))]
    assert [row.point for row in rank_configurations(records, [AUC], 1)] == [1, 0]
    loss = (Objective(metric="val_loss", mode="min"),)
    assert [row.point for row in rank_configurations(records, loss, 1)] == [1, 0]


def test_another_metric_is_averaged_over_the_same_trials() -> None:
    records = [record(at, {"val_auc": 0.5, "val_f1": f1}, point=0, replicate=at) for at, f1 in enumerate((0.2, 0.4))]
    (row,) = rank_configurations(records, [AUC], 2)
    assert row.mean_of("val_f1") == pytest.approx(0.3)
    (incomplete,) = rank_configurations([records[0], replace(records[1], metrics={"val_auc": 0.5})], [AUC], 2)
    assert incomplete.mean_of("val_f1") is None


def test_several_objectives_make_a_front_of_means() -> None:
    objectives = (AUC, Objective(metric="latency_ms", mode="min"))
    cells = [[(0.9, 5.0), (0.8, 7.0)], [(0.8, 2.0), (0.7, 2.0)], [(0.7, 3.0), (0.7, 3.0)], [(0.99, 1.0)]]
    records = [
        record(10 * point + at, {"val_auc": auc, "latency_ms": ms}, point=point, replicate=at)
        for point, row in enumerate(cells)
        for at, (auc, ms) in enumerate(row)
    ]
    rows = rank_configurations(records, objectives, 2)
    assert [(row.point, row.rank) for row in rows] == [(0, 1), (1, 1), (2, 2), (3, 3)]
    assert rows[0].mean_of("latency_ms") == pytest.approx(6.0)
