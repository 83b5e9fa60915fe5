"""Every name a study file may use has an implementation, and every implementation a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import pytest

from study.config.augmentation_spec import MIXING, OPERATIONS
from study.config.hyperparameters import DEPTHS, Depth, Family, Hyperparameters, PlainInit
from study.training.augmentation import geometry, mixing, pipeline
from study.training.dataset import FIXED_NORMALIZATIONS
from study.training.losses import LOSSES
from study.training.models.architectures import ARCHITECTURES, HEADS
from study.training.models.initialization import INITIALIZERS
from study.training.optimization import OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize(
    "hyperparameter, registry",
    [
        ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("loss", LOSSES), ("head", HEADS),
        ("normalization", [*FIXED_NORMALIZATIONS, "dataset"]),
    ],
)  # fmt: skip
def test_the_registry_holds_the_names_of_the_study_file(hyperparameter: str, registry: Iterable[str]) -> None:
    assert set(get_args(Hyperparameters.model_fields[hyperparameter].annotation)) == set(registry)


def test_every_architecture_is_built() -> None:
    assert set(ARCHITECTURES) == {(family, depth) for family, depths in DEPTHS.items() for depth in depths}
    assert set(DEPTHS) == set(get_args(Family))
    assert {depth for depths in DEPTHS.values() for depth in depths} == set(get_args(Depth))


def test_every_initialization_is_drawn_or_loaded() -> None:
    assert {*INITIALIZERS, "imagenet", "rotation"} == set(get_args(PlainInit))


def test_every_augmentation_operation_is_implemented_once() -> None:
    names = [*geometry.GEOMETRIC, *pipeline.PIXELWISE, *mixing.MIXING]
    assert sorted(names) == sorted(OPERATIONS)
    assert set(mixing.MIXING) == set(MIXING)
