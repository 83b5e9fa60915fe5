"""The best epoch: ties, NaN, and what is left out of a curve."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.best_epoch import best_epoch, selected_epoch
from study.config.search_config import Mode, Objective
from study.records import EpochMetrics

NAN = math.nan


@pytest.mark.parametrize(
    "values, mode, epoch",
    [
        ([0.5, 0.7, 0.6], "max", 2),
        ([0.5, 0.7, 0.4], "min", 3),
        ([0.7, 0.7, 0.6], "max", 1),
        ([0.7, 0.6, 0.6], "min", 2),
        ([NAN, 0.1, NAN], "max", 2),
        ([NAN, NAN], "min", 1),
        ([-math.inf, -math.inf], "max", 1),
    ],
)
def test_the_earliest_of_equals_is_best_and_any_number_beats_nan(values: list[float], mode: Mode, epoch: int) -> None:
    best = best_epoch(enumerate(values, start=1), mode)
    assert best is not None
    assert best[0] == epoch
    history = [EpochMetrics(at, {"val_auc": value}) for at, value in enumerate(values, start=1)]
    assert selected_epoch(history, Objective(metric="val_auc", mode=mode)) is history[epoch - 1]


def test_no_epoch_is_best_of_none() -> None:
    assert best_epoch([], "max") is None
    assert selected_epoch([], Objective(metric="val_auc", mode="max")) is None


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, NAN]), min_size=1, max_size=8), st.sampled_from(["max", "min"]))
def test_the_best_so_far_stands_for_all_epochs_before(values: list[float], mode: Mode) -> None:
    curve = list(enumerate(values))
    step = None
    for point in curve:
        step = best_epoch([*([step] if step else []), point], mode)
    assert step == best_epoch(curve, mode)
