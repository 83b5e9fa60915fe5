"""Data that cannot carry a study is refused before anything is stored."""

from __future__ import annotations

import numpy as np
import pytest

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import Objective
from study.config.search_space import Choice, Integer, Parameter
from study.config.study_config import StudySpec
from study.data.dataset import ImageSet, make_bundle
from study.engine.preparation import validate_data
from study.errors import DataError


def images(*labels: int) -> ImageSet:
    return ImageSet(
        np.zeros((len(labels), 16, 16, 3), np.uint8), np.array(labels, np.int64), tuple(map(str, range(len(labels))))
    )


DATA = make_bundle(
    "folder",
    16,
    ("no mask", "yes"),
    {"train": images(0, 1, 0, 1), "val": images(0, 1), "shifted/dark": images(1, 1), "shifted/bright": images(0, 1)},
)


def spec_of(metric: str = "val_auc", *space: Parameter, **trial: object) -> StudySpec:
    settings = Hyperparameters.model_validate({"batch_size": 4, **trial})
    return StudySpec(name="s", objective=Objective(metric=metric, mode="max"), trial=settings, space=space)


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(batch_size=5),
        spec_of("val_auc", Parameter(name="batch_size", domain=Choice(values=(2, 5)))),
        spec_of("val_auc", Parameter(name="batch_size", domain=Integer(low=2, high=5))),
    ],
)
def test_a_batch_larger_than_the_training_set(spec: StudySpec) -> None:
    with pytest.raises(DataError, match="batch_size must be <= the number of training images, 4, but may be 5"):
        validate_data(spec, DATA)


@pytest.mark.parametrize(
    "metric, message",
    [
        ("shifted.fog.auc", "no shifted set `fog`; there are: bright, dark"),
        ("shifted.dark.auc", "needs images of every class, but `no mask` has none there"),
        ("val_recall.maybe", "no class `maybe`; there are: no mask, yes"),
        ("shifted.dark.recall.maybe", "no class `maybe`"),
    ],
)
def test_a_metric_the_data_cannot_give(metric: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate_data(spec_of(metric), DATA)
    with pytest.raises(DataError, match=message):
        validate_data(spec_of(early_stopping_metric=metric, early_stopping_patience=1), DATA)


@pytest.mark.parametrize("metric", ["val_auc", "shifted.bright.auc", "shifted.dark.accuracy", "val_recall.no mask"])
def test_what_the_data_has_is_let_through(metric: str) -> None:
    validate_data(spec_of(metric), DATA)


def test_a_shifted_set_may_have_dots_in_its_name() -> None:
    sets = {"train": images(0, 1, 0, 1), "val": images(0, 1), "shifted/v1.2": images(0, 1)}
    data = make_bundle("folder", 16, ("no mask", "yes"), sets)
    validate_data(spec_of("shifted.v1.2.auc"), data)
    with pytest.raises(DataError, match="no class `maybe`"):
        validate_data(spec_of("shifted.v1.2.recall.maybe"), data)


def test_classes_that_look_the_same_in_metric_names_are_refused_before_every_trial_fails_of_them() -> None:
    sets = {"train": images(0, 1, 0, 1), "val": images(0, 1)}
    with pytest.raises(DataError, match="'a/b' and 'a_b' are both `a_b` there; rename one"):
        validate_data(spec_of(), make_bundle("folder", 16, ("a/b", "a_b"), sets))
