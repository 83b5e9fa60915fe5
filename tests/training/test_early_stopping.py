"""When a trial ends by itself, against Keras's loop."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_kit import CPU, MAX_AUC, noisy_halves, numbers, run, short_trial

from study.config.hyperparameters import TrialConfig
from study.records import EpochMetrics, StopReason
from study.training.progress import find_stop_reason
from study.training.trainer import train

DATA = noisy_halves(train=16, val=12, size=16)


class EarlyStopping:
    """The part of Keras's callback that decides, after its source (keras/callbacks/early_stopping.py)."""

    def __init__(self, mode: str, patience: int, min_delta: float) -> None:
        self.sign = 1.0 if mode == "max" else -1.0
        self.patience, self.min_delta = patience, abs(min_delta)
        self.best: float | None = None
        self.wait = 0

    def stops_after(self, value: float) -> bool:
        self.wait += 1
        if self.best is None or self.sign * (value - self.sign * self.min_delta - self.best) > 0:
            self.best, self.wait = value, 0
        return self.wait >= self.patience


def history_of(metric: str, values: list[float]) -> list[EpochMetrics]:
    return [EpochMetrics(epoch, {metric: value}) for epoch, value in enumerate(values, start=1)]


@given(
    eighths=st.lists(st.integers(0, 24), min_size=1, max_size=15),
    metric=st.sampled_from([("val_loss", "min"), ("val_auc", "max"), ("shifted.masks.auc", "max"), ("val_ece", "min")]),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.125, 0.5]),
)
def test_it_is_keras_decision_after_every_epoch(
    eighths: list[int], metric: tuple[str, str], patience: int, min_delta: float
) -> None:
    name, mode = metric
    config = short_trial(
        max_epochs=99, early_stopping_metric=name, early_stopping_patience=patience, early_stopping_min_delta=min_delta
    )
    keras = EarlyStopping(mode, patience, min_delta)
    values = [eighth / 8 for eighth in eighths]
    for epochs in range(1, len(values) + 1):
        ended = find_stop_reason(config, history_of(name, values[:epochs]))
        assert ended == (StopReason.EARLY_STOPPED if keras.stops_after(values[epochs - 1]) else None)
        if ended:
            return


@pytest.mark.parametrize(
    "min_delta, values, epochs",
    [
        (0.0, [0.5, 0.4, 0.4, 0.4], 4),
        (0.0, [0.5, 0.4, 0.41, 0.39, 0.5, 0.5], 6),
        (0.1, [0.5, 0.45, 0.41], 3),  # every gain is too small, though their sum is not
        (0.125, [0.5, 0.375, 0.375], 3),  # exactly min_delta is none
        (0.1, [0.5, 0.45, 0.39, 0.3, 0.3], 5),
    ],
)
def test_patience_of_two_by_hand(min_delta: float, values: list[float], epochs: int) -> None:
    config = short_trial(max_epochs=99, early_stopping_patience=2, early_stopping_min_delta=min_delta)
    ends = [find_stop_reason(config, history_of("val_loss", values[:seen])) for seen in range(len(values) + 1)]
    assert ends == [None] * epochs + [StopReason.EARLY_STOPPED] * (len(values) + 1 - epochs)


def test_without_patience_only_the_last_epoch_ends_a_trial() -> None:
    config = short_trial(max_epochs=4)
    values = history_of("val_loss", [1.0, 2.0, 3.0, 4.0])
    assert [find_stop_reason(config, values[:seen]) for seen in range(5)] == [None] * 4 + [StopReason.FINISHED]


def stopping(**changed: object) -> TrialConfig:
    """A trial that gains nothing worth its while after the first epoch."""
    settings = {"early_stopping_metric": "val_auc", "early_stopping_patience": 2, "early_stopping_min_delta": 1.0}
    cheap = {"batch_size": 16, "optimizer": "sgd", "freeze": "backbone"}
    return short_trial(**(settings | cheap | {"max_epochs": 9} | changed))


def test_a_trial_ends_early_and_says_so(tmp_path: Path) -> None:
    seen = list(train(stopping(), DATA, MAX_AUC, tmp_path, device=CPU))
    assert [progress.epoch for progress in seen] == [1, 2, 3]
    assert [progress.ended for progress in seen] == [None, None, StopReason.EARLY_STOPPED]
    (again,) = train(stopping(), DATA, MAX_AUC, tmp_path, device=CPU)
    assert (again.ended, again.epoch) == (StopReason.EARLY_STOPPED, 3)
    assert again == seen[-1]


def test_the_last_epoch_is_a_finish_whatever_the_patience(tmp_path: Path) -> None:
    assert run(stopping(max_epochs=3), DATA, tmp_path).ended is StopReason.FINISHED


def test_a_resumed_trial_still_knows_how_long_it_has_waited(tmp_path: Path) -> None:
    whole = run(stopping(), DATA, tmp_path / "whole")
    for _ in islice(train(stopping(), DATA, MAX_AUC, tmp_path / "part", device=CPU), 2):
        pass
    resumed = run(stopping(), DATA, tmp_path / "part")
    assert (resumed.ended, resumed.epoch) == (StopReason.EARLY_STOPPED, 3)
    assert numbers(resumed) == numbers(whole)


def test_somebodys_decision_to_prune_ends_a_trial(tmp_path: Path) -> None:
    asked: list[int] = []

    def pruned(epoch: int) -> bool:
        asked.append(1)
        return len(asked) >= 2

    config = short_trial(max_epochs=9, batch_size=16, optimizer="sgd", freeze="backbone")
    seen = list(train(config, DATA, MAX_AUC, tmp_path, device=CPU, pruned=pruned))
    assert [(progress.epoch, progress.ended) for progress in seen] == [(1, None), (2, None), (2, StopReason.PRUNED)]
