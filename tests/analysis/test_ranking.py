"""Ranking and certainty on made-up records."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_kit import record as make_record

from cli.field_getters import mode_of
from study.analysis.ranking import rank_trials, summarize
from study.analysis.significance import Verdict, auc_standard_error, judge_best, proportion_standard_error
from study.config.search_config import Objective, SearchSpec
from study.config.search_space import Parameter, Uniform
from study.config.study_config import StudySpec
from study.errors import UsageError
from study.metrics import EVALUATED, METRICS, metric_named, shifted_sets
from study.records import TrialRecord, TrialState

COUNTS = (250, 150)
AUC = Objective(metric="val_auc", mode="max")
LOSS = Objective(metric="val_loss", mode="min")


def record(trial: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    metrics = {} if value is None else {"val_auc": value, "val_loss": 1 - value}
    checkpoint = None if value is None or state is TrialState.FAILED else f"trials/{trial}"
    return TrialRecord("s", trial, state, {}, {}, metrics=metrics, value=value, checkpoint=checkpoint)


def test_best_first_and_the_unfinished_last_without_a_rank() -> None:
    records = [
        record(0, 0.7),
        record(1, 0.9, TrialState.PRUNED),
        record(2, 0.99, TrialState.RUNNING),
        record(3, 0.95, TrialState.FAILED),
        record(4, 0.8),
    ]
    rows = rank_trials(records, [AUC])
    assert [(row.record.trial, row.rank) for row in rows] == [(1, 1), (4, 2), (0, 3), (2, None), (3, None)]


def test_less_is_better_for_a_loss() -> None:
    rows = rank_trials([record(0, 0.7), record(1, 0.9)], [LOSS])
    assert [row.record.trial for row in rows] == [1, 0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_ranks_are_a_permutation_and_equals_keep_their_order(values: list[float]) -> None:
    rows = rank_trials([record(trial, value) for trial, value in enumerate(values)], [AUC])
    keys = [(-row.record.metrics["val_auc"], row.record.trial) for row in rows]
    assert keys == sorted(keys)
    assert [row.rank for row in rows] == list(range(1, len(values) + 1))


def test_what_is_no_number_has_no_rank() -> None:
    rows = rank_trials([record(0, math.nan), record(1, 0.7)], [AUC])
    assert [(row.record.trial, row.rank) for row in rows] == [(1, 1), (0, None)]


def test_summary_counts_states() -> None:
    momentum = Parameter(name="momentum", domain=Uniform(low=0.0, high=0.9))
    spec = StudySpec(name="s", space=(momentum,), search=SearchSpec(trials=5))
    records = [record(0, 0.7), record(1, 0.9, TrialState.PRUNED), record(2, None, TrialState.FAILED)]
    summary = summarize(spec, "interrupted", records, 1.0, 5)
    assert (summary.trials, summary.complete, summary.pruned, summary.failed, summary.running) == (3, 1, 1, 1, 0)
    assert (summary.planned, summary.best) == (5, 0.9)


def test_auc_standard_error_is_what_resampling_gives() -> None:
    rng = np.random.default_rng(0)
    aucs = []
    for _ in range(400):
        negative, positive = rng.normal(0, 1, 80), rng.normal(1.5, 1, 60)
        aucs.append((positive[:, None] > negative[None]).mean())
    expected = auc_standard_error(float(np.mean(aucs)), 60, 80)
    assert expected == pytest.approx(np.std(aucs), rel=0.25)


def test_auc_standard_error_of_the_papers_example() -> None:
    # Hanley & McNeil 1982, table II: 0.893 on 58 normal and 51 abnormal, standard error about 0.032.
    assert auc_standard_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.0015)


def test_a_perfect_auc_on_few_images_is_not_certain() -> None:
    assert auc_standard_error(1.0, 6, 6) > 0.05
    assert 0 < auc_standard_error(1.0, 150, 250) < 0.01
    verdict = judge_best(rank_trials([record(0, 1.0), record(1, 0.99)], [AUC]), "val_auc", (6, 6))
    assert verdict.tied == 1


def test_equal_places_go_by_loss() -> None:
    first, second = record(0, 1.0), record(1, 1.0)
    rows = rank_trials([replace(first, metrics={"val_auc": 1.0, "val_loss": 0.7}), second], [AUC])
    assert [row.record.trial for row in rows] == [1, 0]


def test_a_perfect_fraction_is_not_certain() -> None:
    assert 0 < proportion_standard_error(1.0, 20) < 0.1
    assert proportion_standard_error(0.5, 10_000) == pytest.approx(0.005, rel=0.01)


def test_a_small_lead_is_not_called_a_win() -> None:
    close = judge_best(rank_trials([record(0, 0.95), record(1, 0.951)], [AUC]), "val_auc", COUNTS)
    assert close.tied == 1
    assert close.text.startswith("no:")
    far = judge_best(rank_trials([record(0, 0.5), record(1, 0.951)], [AUC]), "val_auc", COUNTS)
    assert far.tied == 0
    assert "yes" in far.text
    assert far.lead == pytest.approx(0.451)


def test_without_a_formula_the_verdict_says_so() -> None:
    verdict = judge_best(rank_trials([record(0, 0.95), record(1, 0.951)], [LOSS]), "val_loss", COUNTS)
    assert verdict.standard_error is None
    assert "not known" in verdict.text
    assert math.isclose(verdict.lead or 0, 0.001, rel_tol=1e-6)


@pytest.mark.parametrize(
    "name, mode",
    [
        ("val_auc", "max"),
        ("val_ece", "min"),
        ("val_recall.wearing_mask", "max"),
        ("val_f1.a.b", "max"),
        ("shifted.offcentre.auc", "max"),
        ("shifted.offcentre.loss", "min"),
        ("shifted.offcentre.recall.wearing_mask", "max"),
        ("shifted.a.b.auc", "max"),
        ("test.auc", "max"),
        ("test.precision.x", "max"),
        ("val_threshold", None),
        ("shifted.dark.threshold", None),
        ("learning_rate", None),
        ("peak_memory_bytes", "min"),
    ],
)
def test_a_metric_of_any_family_is_known(name: str, mode: str | None) -> None:
    found = metric_named(name)
    assert found is not None
    assert found.mode == mode


@pytest.mark.parametrize(
    "name",
    [
        "auc",
        "val_",
        "val_recall",
        "val_recall.",
        "val_support.a",
        "val_learning_rate",
        "test.",
        "test.epoch_s",
        "test_auc",
        "shifted.",
        "shifted.auc",
        "shifted..auc",
        "shifted.dark.",
        "shifted.dark.acu",
        "shifted.dark.recall",
    ],
)
def test_what_no_trial_reports_is_not_known(name: str) -> None:
    assert metric_named(name) is None


def test_the_listed_metrics_are_those_of_the_families() -> None:
    assert {name.removeprefix("val_") for name in METRICS if name.startswith("val_")} == set(EVALUATED)
    assert all(metric_named(name) == metric for name, metric in METRICS.items())


def test_the_set_of_a_shifted_metric() -> None:
    assert shifted_sets("shifted.dark.auc") == ("dark",)
    assert shifted_sets("shifted.a.b.auc") == ("a.b",)
    assert shifted_sets("shifted.a.recall.auc") == ("a", "a.recall")  # recall of class auc, or auc of set a.recall
    assert shifted_sets("val_auc") == shifted_sets("shifted.dark.acu") == ()


@pytest.mark.parametrize(
    "metric, mode",
    [("val_loss", "max"), ("val_auc", "max"), ("latency_ms", "min"), ("val_recall.wearing_mask", "max"),
     ("shifted.offcentre.ece", "min")],
)  # fmt: skip
def test_mode_of_a_metric_is_that_of_its_objective_or_of_the_catalogue(metric: str, mode: str) -> None:
    assert mode_of(metric, [AUC, Objective(metric="val_loss", mode="max")]) == mode


@pytest.mark.parametrize(
    "metric, message",
    [
        ("val_acu", "val_auc"),
        ("test.auc", r"test images, got `test.auc`.*choose by validation, such as val_auc"),
        ("val_threshold", "must be one a checkpoint can be ranked by, got `val_threshold`"),
    ],
)
def test_what_cannot_be_ranked_by_has_no_mode(metric: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mode_of(metric, [AUC])


@pytest.mark.parametrize(
    "metric, like",
    [
        ("shifted.dark.auc", "val_auc"),
        ("shifted.dark.accuracy", "val_accuracy"),
        ("shifted.a.b.auc", "val_auc"),
        ("shifted.dark.f1", None),
        ("shifted.dark.recall.auc", None),
        ("val_macro_recall", None),
        ("test.auc", None),
        ("train_accuracy", None),
    ],
)
def test_shifted_images_blur_a_lead_as_validation_images_do(metric: str, like: str | None) -> None:
    def verdict_on(name: str, counts: tuple[int, ...] = COUNTS) -> Verdict:
        records = [replace(record(trial, 0.9), metrics={name: 0.9 + trial / 1000}) for trial in range(2)]
        return judge_best(rank_trials(records, [Objective(metric=name, mode="max")]), name, counts)

    found = verdict_on(metric)
    if like is None:
        assert found.standard_error is None
        assert "not known" in found.text
        return
    assert found.standard_error == verdict_on(like).standard_error
    assert f"400 images of {metric.split('.auc')[0].split('.acc')[0].removeprefix('shifted.')} alone blur" in found.text
    assert "400 validation images alone" in verdict_on(like).text
    assert verdict_on(metric, (100, 200, 100)).standard_error is None
    assert verdict_on(metric, (100, 0)).standard_error is None


def test_trials_go_by_layer_then_by_the_first_objective() -> None:
    objectives = (AUC, Objective(metric="latency_ms", mode="min"))
    values = [(0.8, 3.0), (0.9, 5.0), (0.7, 4.0), (0.8, 3.0)]
    records = [make_record(at, {"val_auc": auc, "latency_ms": ms}) for at, (auc, ms) in enumerate(values)]
    records += [
        make_record(4, {"val_auc": 0.99}),
        make_record(5, {"val_auc": 0.99, "latency_ms": 1.0}, TrialState.RUNNING),
    ]
    records += [make_record(6, {"val_auc": 0.99, "latency_ms": math.nan})]
    rows = rank_trials(records, objectives)
    expected = [(1, 1), (0, 1), (3, 1), (2, 2), (4, None), (5, None), (6, None)]
    assert [(row.record.trial, row.rank) for row in rows] == expected
    assert rows[0].value == 0.9
    assert rank_trials([], objectives) == []
