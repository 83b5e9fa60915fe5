"""Every fault of a metric, an augmentation or an initialisation that a study file names."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_training_faults import faults_in, loads


@pytest.mark.parametrize(
    "body, expected",
    [
        ("trial: {init: imagnet}", "3:15: trial.init must be one of kaiming, xavier, orthogonal, zero_residual, image"),
        ("trial: {init: 'run:'}", "3:15: trial.init must be one of kaiming"),
        (
            "trial: {augmentation: rotate(300)}",
            "3:23: trial.augmentation: the strength of rotate must be a number in [0,",
        ),
        ("trial: {augmentation: flip+flip}", "3:23: trial.augmentation: each operation must come once, but `flip` com"),
        ("trial: {augmentation: 3}", "3:23: trial.augmentation must be an augmentation such as flip+rotate(15), got 3"),
        ("trial: {augmentation: }", "3:9: trial.augmentation has no value; it must be an augmentation such as flip"),
        ("rotation: {augmentation: blur(x)}", "3:26: rotation.augmentation: the strength of blur must be a number in "),
        (
            "space: {augmentation: {choice: [none, erase(2)]}}",
            "3:39: space.augmentation.choice[1]: the strength of erase must be a number in [0, 1]",
        ),
        (
            "space: {augmentation: erase(2)}",
            "3:23: space.augmentation: the strength of erase must be a number in [0, 1]",
        ),
        ("space: {init: {choice: ['run:5', x]}}", "3:34: space.init.choice[1] must be one of kaiming"),
    ],
)
def test_a_written_value_must_be_readable(tmp_path: Path, body: str, expected: str) -> None:
    (fault,) = faults_in(tmp_path, body)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    "body, meant",
    [
        ("trial: {init: imagnet}", "imagenet"),
        ("space: {init: {choice: [xaver]}}", "xavier"),
        ("trial: {augmentation: standart}", "standard"),
        ("trial: {augmentation: flip+rotat(30)}", "rotate"),
        ("space: {augmentation: {choice: [none, blurr]}}", "blur"),
        ("objective: {metric: shifted.offcentre.acu, mode: max}", "shifted.offcentre.auc"),
        ("objective: {metric: shifted.offcenter.auc, mode: max}", "offcentre"),
        ("data: {shifted: {dark: .}}\nobjective: {metric: shifted.drak.auc, mode: max}", "dark"),
        ("objective: {metric: val_macro_recal, mode: max}", "val_macro_recall"),
    ],
)
def test_the_nearest_name_is_offered(tmp_path: Path, body: str, meant: str) -> None:
    (fault,) = faults_in(tmp_path, body)
    assert f"; did you mean `{meant}`?" in fault


def test_a_strength_is_not_taken_for_a_misspelt_name(tmp_path: Path) -> None:
    (fault,) = faults_in(tmp_path, "trial: {augmentation: rotate(shfit)}")
    assert fault.endswith("got `shfit`")


@pytest.mark.parametrize(
    "metric, expected",
    [
        (
            "test.auc",
            "test.auc cannot be the objective: the test images are looked at once, at the end; choose by vali",
        ),
        (
            "test.nothing",
            "test.nothing cannot be the objective: the test images are looked at once, at the end; choose",
        ),
        (
            "val_threshold",
            "val_threshold has no better direction, so it cannot be the objective; use one of train_loss",
        ),
        ("shifted.dark.auc", "shifted.dark.auc is about a shifted set `dark`, which is not there. Sets: offcentre, lo"),
        ("val_recall.", "trials do not report a metric `val_recall.`"),
        ("qqq", "trials do not report a metric `qqq`. Reported: train_loss, train_accuracy, val_loss"),
    ],
)
def test_a_metric_that_cannot_be_the_objective(tmp_path: Path, metric: str, expected: str) -> None:
    (fault,) = faults_in(tmp_path, f"objective: {{metric: {metric}, mode: max}}")
    assert fault.startswith(f"3:21: {expected}")
    if "Reported" in fault:
        assert "val_recall.<class>" in fault
        assert "shifted.<set>.<name>, such as shifted.offcentre.auc" in fault


def test_the_mode_of_a_shifted_metric_must_be_its_own(tmp_path: Path) -> None:
    (fault,) = faults_in(tmp_path, "objective: {metric: shifted.lowlight.ece, mode: max}")
    assert fault.startswith("3:49: objective.mode must be min for shifted.lowlight.ece, which is better when lower")


@pytest.mark.parametrize(
    "body",
    [
        "objective: {metric: shifted.offcentre.auc, mode: max}",
        "objective: {metric: shifted.patterns.recall.wearing_mask, mode: max}",
        "objective: {metric: val_recall.wearing_mask, mode: max}",
        # only the folder itself tells which sets it has
        "objective: {metric: shifted.my dark.auc, mode: max}\ndata: {source: folder, path: .}",
        "trial: {early_stopping_metric: shifted.lowlight.loss, early_stopping_patience: 2}",
        "trial: {early_stopping_metric: train_loss, early_stopping_min_delta: 0.01, early_stopping_patience: 2}",
        "trial: {early_stopping_metric: val_auc}\nspace: {early_stopping_patience: {choice: [2, 4]}}",
        "trial: {early_stopping_metric: val_loss, early_stopping_min_delta: 0.0}",
    ],
)
def test_a_metric_of_any_image_set_but_the_test_images_may_decide(tmp_path: Path, body: str) -> None:
    loads(tmp_path, body)


@pytest.mark.parametrize(
    "body, expected",
    [
        ("{early_stopping_metric: val_auc}", "3:9: trial.early_stopping_metric does nothing without trial.early_stopp"),
        ("{early_stopping_min_delta: 0.1}", "3:9: trial.early_stopping_min_delta does nothing without trial.early_sto"),
        (
            "{early_stopping_patience: 3, early_stopping_metric: test.auc}",
            "3:60: trial.early_stopping_metric: test.auc cannot be what early stopping watches: the test images are",
        ),
        (
            "{early_stopping_patience: 3, early_stopping_metric: epoch_s}",
            "3:60: trial.early_stopping_metric must begin with val_ or train_ or shifted. to say how well",
        ),
        (
            "{early_stopping_patience: 3, early_stopping_metric: learning_rate}",
            "3:60: trial.early_stopping_metric: learning_rate has no better direction, so it cannot be what early",
        ),
        (
            "{early_stopping_patience: 3, early_stopping_metric: val_acu}",
            "3:60: trial.early_stopping_metric: trials do not report a metric `val_acu`; did you mean `val_auc`?",
        ),
        (
            "{early_stopping_patience: 3, early_stopping_metric: shifted.dark.auc}",
            "3:60: trial.early_stopping_metric: shifted.dark.auc is about a shifted set `dark`, which is not there",
        ),
    ],
)
def test_early_stopping_needs_a_patience_and_a_metric(tmp_path: Path, body: str, expected: str) -> None:
    (fault,) = faults_in(tmp_path, f"trial: {body}")
    assert fault.startswith(expected)


def test_a_searched_early_stopping_needs_the_same(tmp_path: Path) -> None:
    body = "space: {early_stopping_metric: {choice: [val_loss, test.auc]}}"
    assert [line.split(";")[0] for line in faults_in(tmp_path, body)] == [
        "3:9: space.early_stopping_metric does nothing without trial.early_stopping_patience",
        "3:32: space.early_stopping_metric: test.auc cannot be what early stopping watches: the test images are looked "
        "at once, at the end",
    ]
