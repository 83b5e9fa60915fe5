"""Say how the learning rate goes over a trial; one registry entry per name, each a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from study.hyperparameters import Hyperparameters

RISE_SHARE = 0.3
DIV_FACTOR = 25.0
FINAL_DIV_FACTOR = 1e4
"""Of the one-cycle schedule; torch's defaults."""


@dataclass(frozen=True)
class Clock:
    """Where training stands: ``step`` counts optimizer steps from 0, over all epochs."""

    step: int
    steps_per_epoch: int
    max_epochs: int

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.steps_per_epoch * self.max_epochs

    @property
    def epoch(self) -> int:
        """Whole epochs behind."""
        return self.step // self.steps_per_epoch


def rate_factor(config: Hyperparameters, clock: Clock) -> float:
    """Return what the learning rate is multiplied with at a step.

    A warm-up of W = warmup_epochs * steps_per_epoch steps rises linearly, step s (from 0) by (s + 1) / (W + 1), before
    the schedule begins; of ``one_cycle`` it is the length of the rise, at least one step, where 0 means 30 % of the
    trial. Being a function of the step alone, it needs no state to resume.
    """
    warm = round(config.warmup_epochs * clock.steps_per_epoch)
    if config.schedule == "one_cycle" and config.warmup_epochs > 0:
        warm = max(1, warm)  # 0 stands for the usual rise
    if config.schedule != "one_cycle" and clock.step < warm:
        return (clock.step + 1) / (warm + 1) * SCHEDULES[config.schedule](config, clock, clock.step)
    return SCHEDULES[config.schedule](config, clock, warm)


def constant(config: Hyperparameters, clock: Clock, warm: int) -> float:
    """Keep the learning rate."""
    return 1.0


def multistep(config: Hyperparameters, clock: Clock, warm: int) -> float:
    """Multiply by gamma after each of the milestones, which count whole epochs."""
    return float(config.gamma ** sum(clock.epoch >= milestone for milestone in config.milestones))


def cosine(config: Hyperparameters, clock: Clock, warm: int) -> float:
    """Fall along half a cosine to 0, step by step (Loshchilov & Hutter 2017, without restarts)."""
    left = max(1, clock.steps - warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (clock.step - warm) / left)))


def one_cycle(config: Hyperparameters, clock: Clock, warm: int) -> float:
    """Rise from 1/25, then fall to 1/250000, along cosines (Smith & Topin 2018; torch's form, momentum left alone)."""
    top = (warm or RISE_SHARE * clock.steps) - 1
    last = clock.steps - 1
    if clock.step <= top:
        return _between(1 / DIV_FACTOR, 1.0, clock.step / top if top else 1.0)
    return _between(1.0, 1 / DIV_FACTOR / FINAL_DIV_FACTOR, (clock.step - top) / max(1e-9, last - top))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


SCHEDULES: Mapping[str, Callable[[Hyperparameters, Clock, int], float]] = {
    "constant": constant,
    "multistep": multistep,
    "cosine": cosine,
    "one_cycle": one_cycle,
}
