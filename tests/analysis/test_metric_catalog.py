"""The catalogue of metrics, and which direction of each is better."""

from __future__ import annotations

import pytest

from cli.queries.field_getters import mode_of
from study.analysis.statistics.influence import JUDGED_METRICS
from study.config.search_config import Objective
from study.errors import UsageError
from study.metric_catalog import EVALUATED, METRICS, metric_named, shifted_sets

AUC = Objective(metric="val_auc", mode="max")


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
    metric = metric_named(name)
    assert metric is not None
    assert metric.mode == mode


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


def test_trials_can_be_judged_by_every_metric_that_has_a_better_direction() -> None:
    assert {name for name, metric in EVALUATED.items() if metric.mode is not None} <= set(JUDGED_METRICS)
