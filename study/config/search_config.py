"""The sections of a study file on which trials run, how often and for how long; no I/O."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from study.config.hyperparameters import Frozen, Scalar

Mode = Literal["max", "min"]
DesignKind = Literal["search", "grid", "one_factor", "factorial", "points"]
Fraction = Literal["regular", "plackett_burman"]
SamplerName = Literal["tpe", "random", "gp", "cmaes", "qmc", "nsga2"]
PrunerName = Literal["asha", "hyperband", "median", "percentile", "patient", "wilcoxon", "none"]

MOST_POINTS = 100_000
MOST_TRIALS = 1_000_000
_PART = r"(\d+(?:\.\d+)?)\s*(s|min|h|d)"
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(duration: str) -> float:
    """Return a duration such as ``90 s``, ``30 min`` or ``1 h 30 min`` in seconds.

    Raises:
        ValueError: it is not written so, or is 0.
    """
    if not re.fullmatch(rf"\s*(?:{_PART}\s*)+", duration):
        raise ValueError(f"a duration must be numbers with s, min, h or d, such as 1 h 30 min, got {duration!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, duration))
    if not 0 < seconds < math.inf:
        raise ValueError(f"a duration must be > 0 s, got {duration!r}")
    return seconds


def _check_duration(value: str) -> str:
    seconds_of(value)
    return value


Duration = Annotated[
    str, AfterValidator(_check_duration), Field(description="a duration with its unit, such as 90 s or 1 h 30 min")
]


class Objective(Frozen):
    """A metric to optimise; a trial's value is that of its best epoch."""

    metric: str
    mode: Mode


class DesignSpec(Frozen):
    """Which points of the space are run.

    ``search`` lets a sampler choose; ``grid`` is every combination once; ``one_factor`` is ``baseline`` and, for
    each parameter, each other value of it with everything else at the baseline; ``factorial`` is every combination
    too, or with a ``resolution`` the smallest two-level fraction that has it, made by generators (2^(k-p)) or after
    Plackett & Burman (resolution 3). In a fraction a range stands for its two ends. ``points`` is the list of that
    name.
    """

    kind: DesignKind = "search"
    baseline: dict[str, Scalar] = Field(default_factory=dict)
    resolution: Annotated[int, Field(ge=3, le=10)] | None = None
    fraction: Fraction = "regular"
    points: Annotated[tuple[dict[str, Scalar], ...], Field(strict=False)] = ()


class ReplicatesSpec(Frozen):
    """How often each point is run: once per seed; ``count`` means the seeds 0, 1, ..., count - 1."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False)] | None = None
    count: Annotated[int, Field(ge=1, le=1000)] | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The seeds, one per replicate."""
        return self.seeds or tuple(range(self.count or 1))


class SearchSpec(Frozen):
    """How points are suggested and weak trials are stopped.

    ``trials`` counts every run, replicates included, and belongs to design ``search``; other designs know their
    number, and ``budget.trials`` may cut it short. Without a ``pruner`` a search for one objective uses ASHA and
    everything else none.

    ``min_epochs`` is the age at which the pruner may stop a trial first, where unset a quarter of the longest trial's
    epochs, from 1 to 4; ``reduction_factor`` is that of ASHA and Hyperband: of all trials that reached a rung the best
    1/reduction_factor go on. ``percentile`` is the share, in percent, of earlier trials that a trial must be among to
    go on; ``patience`` the epochs without a better value after which ``patient`` stops it; ``p_value`` the level below
    which ``wilcoxon`` holds a point for worse than the best one.
    """

    sampler: SamplerName = "tpe"
    trials: Annotated[int, Field(ge=1, le=MOST_POINTS)] = 16
    seed: Annotated[int, Field(ge=0)] = 0
    pruner: PrunerName | None = None
    min_epochs: Annotated[int, Field(ge=1)] | None = None
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    percentile: Annotated[float, Field(gt=0, lt=100)] = 25.0
    patience: Annotated[int, Field(ge=1)] = 3
    p_value: Annotated[float, Field(gt=0, lt=0.5)] = 0.1


class BudgetSpec(Frozen):
    """When a study ends before its trials do: whichever comes first.

    ``wall_clock`` counts the time in which the study was driven, ``accelerator_hours`` the time of trials times
    their GPUs; ``target`` is met by one trial that reaches all its metrics; ``failures`` is the number of failed
    trials at which the study gives up.
    """

    trials: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None
    wall_clock: Duration | None = None
    accelerator_hours: Annotated[float, Field(gt=0)] | None = None
    target: dict[str, float] = Field(default_factory=dict)
    failures: Annotated[int, Field(ge=1)] | None = None

    @property
    def wall_clock_s(self) -> float | None:
        """The wall clock's limit in seconds."""
        return None if self.wall_clock is None else seconds_of(self.wall_clock)


class KeepSpec(Frozen):
    """Which weights stay on disk: of a trial those of its best epoch, of a study those of its best trials.

    Scores, metrics and figures of every trial stay.
    """

    per_trial: Literal["best"] = "best"
    per_study: Literal["all"] | Annotated[int, Field(ge=1)] = 3


class ResourceSpec(Frozen):
    """What one trial may use, and how often it is placed again after its worker died.

    ``gpus_per_trial: auto`` gives a trial as much of one GPU as it was measured to need.
    """

    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    gpus_per_trial: Literal["auto"] | Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)] = "auto"
    max_concurrent_trials: Annotated[int, Field(ge=1)] | None = None
    worker_retries: Annotated[int, Field(ge=0)] = 2
