"""Learning rates of whole trials against torch's schedulers."""

from __future__ import annotations

import math
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from training_kit import CPU, MAX_AUC, first_images, noisy_halves, run, short_trial

from study.config.hyperparameters import TrialConfig
from study.training.frozen.weights import FrozenWeights
from study.training.learner import Learner, train_epoch
from study.training.losses import Criterion
from study.training.models.architectures import to_device
from study.training.optimization import SCHEDULES, SchedulePosition, build_optimizer, learning_rate_factor
from study.training.trainer import train

DATA = noisy_halves(train=20, val=8, size=16)
STEPS_PER_EPOCH, EPOCHS, RATE = 5, 6, 0.02


def trial(**changed: Any) -> TrialConfig:
    settings = {"optimizer": "sgd", "learning_rate": RATE, "max_epochs": EPOCHS, "batch_size": 4}
    return short_trial(**(settings | changed))


class Small(nn.Module):
    """A head and something before it."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(3 * 16 * 16, 2)
        self.fc = nn.Linear(2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.before(images.flatten(1)))


def taken_rates(config: TrialConfig) -> tuple[list[float], list[float], list[float]]:
    """Return the backbone's and the head's rate of every step of a trial, and the metric of every epoch."""
    torch.manual_seed(0)
    model = Small()
    optimizer = build_optimizer(model, config)
    seen: list[tuple[float, float]] = []
    groups = optimizer.param_groups
    optimizer.register_step_pre_hook(lambda *_: seen.append((groups[0]["lr"], groups[-1]["lr"])))
    learner = Learner(
        to_device(model, CPU, "fp32", False), optimizer, Criterion(config, [1, 1], CPU), FrozenWeights.of(model, "none")
    )
    images = first_images(DATA, 20)
    metric = [
        train_epoch(learner, images, torch.arange(20), config, epoch)["learning_rate"]
        for epoch in range(1, config.max_epochs + 1)
    ]
    return [rate for rate, _ in seen], [rate for _, rate in seen], metric


def torchs_rates(config: TrialConfig) -> list[float]:
    """Return what torch's schedulers say of every step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    steps = STEPS_PER_EPOCH * config.max_epochs
    warm = round(config.warmup_epochs * STEPS_PER_EPOCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = torchs_scheduler(config, optimizer, steps, warm)
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


def torchs_scheduler(config: TrialConfig, optimizer: torch.optim.Optimizer, steps: int, warm: int) -> Any:
    if config.schedule == "one_cycle":
        share = warm / steps if warm else 0.3
        return lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=steps, pct_start=share, cycle_momentum=False
        )
    if config.schedule == "cosine":
        after: Any = lr_scheduler.CosineAnnealingLR(optimizer, steps - warm)
    else:
        milestones = [milestone * STEPS_PER_EPOCH - warm for milestone in config.milestones]
        after = lr_scheduler.MultiStepLR(optimizer, milestones, config.gamma)
    if not warm:
        return after
    rise = lr_scheduler.LinearLR(optimizer, 1 / (warm + 1), total_iters=warm)
    return lr_scheduler.SequentialLR(optimizer, [rise, after], [warm])


@pytest.mark.parametrize("warmup", [0.0, 1.0, 1.6, 0.4])
@pytest.mark.parametrize(
    "schedule",
    [{"schedule": "multistep", "milestones": (2, 4), "gamma": 0.3}, {"schedule": "cosine"}, {"schedule": "one_cycle"}],
    ids=lambda schedule: schedule["schedule"],
)
def test_every_step_of_a_trial_has_torchs_rate(schedule: dict[str, Any], warmup: float) -> None:
    config = trial(warmup_epochs=warmup, backbone_learning_rate_factor=0.25, **schedule)
    backbone, head, metric = taken_rates(config)
    expected = torchs_rates(config)
    assert len(expected) == EPOCHS * STEPS_PER_EPOCH
    assert head == pytest.approx(expected, rel=1e-6, abs=RATE * 1e-9)
    assert backbone == pytest.approx([rate * 0.25 for rate in expected], rel=1e-6, abs=RATE * 1e-9)
    assert metric == head[STEPS_PER_EPOCH - 1 :: STEPS_PER_EPOCH]


def test_a_milestone_within_the_warm_up_counts_from_its_epoch_on() -> None:
    config = trial(schedule="multistep", milestones=(1, 3), gamma=0.5, warmup_epochs=2.0)
    rise = [(step + 1) / 11 for step in range(10)] + [1.0] * 20
    fall = [1.0] * 5 + [0.5] * 10 + [0.25] * 15
    expected = [RATE * rate * other for rate, other in zip(rise, fall, strict=True)]
    assert taken_rates(config)[1] == pytest.approx(expected)


def test_a_constant_rate_rises_and_stays() -> None:
    rates = taken_rates(trial(warmup_epochs=0.8))[1]
    assert rates == pytest.approx([RATE * min(1, (step + 1) / 5) for step in range(30)])


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 40),
    steps=st.integers(1, 9),
    warmup=st.floats(0, 50),
)
def test_the_factor_is_finite_and_in_0_to_1(schedule: str, epochs: int, steps: int, warmup: float) -> None:
    config = trial(schedule=schedule, warmup_epochs=warmup, milestones=(1, 2), max_epochs=epochs)
    factors = [learning_rate_factor(config, SchedulePosition(step, steps, epochs)) for step in range(epochs * steps)]
    assert all(math.isfinite(rate) and 0 < rate <= 1 for rate in factors)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_one_epoch_is_torchs_or_still_rising(steps: int, warmup: float) -> None:
    config = trial(schedule="one_cycle", warmup_epochs=warmup, max_epochs=1)
    factors = [learning_rate_factor(config, SchedulePosition(step, steps, 1)) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in factors)
    if warmup > 1:
        assert factors == sorted(factors)
    elif warmup:
        assert max(factors) == 1.0


def test_the_shortest_rise_of_one_cycle_is_not_the_usual_one() -> None:
    factors = [
        learning_rate_factor(
            trial(schedule="one_cycle", warmup_epochs=0.01), SchedulePosition(step, STEPS_PER_EPOCH, EPOCHS)
        )
        for step in range(30)
    ]
    assert factors[0] == 1.0
    assert factors == sorted(factors, reverse=True)


def test_a_resumed_trial_goes_on_at_the_right_rate(tmp_path: Path) -> None:
    config = trial(schedule="cosine", warmup_epochs=1.2, max_epochs=4, batch_size=4)
    for _ in islice(train(config, DATA, MAX_AUC, tmp_path, device=CPU), 2):
        pass
    history = run(config, DATA, tmp_path).history
    expected = torchs_rates(config)[STEPS_PER_EPOCH - 1 :: STEPS_PER_EPOCH]
    assert [epoch.values["learning_rate"] for epoch in history] == pytest.approx(expected)
