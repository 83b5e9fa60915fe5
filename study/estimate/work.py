"""Sort a study's trials by what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from study.design import count_points, listed_points, planned_trials
from study.estimate.draws import draw_points
from study.hyperparameters import Scalar, TrialConfig
from study.points import constants
from study.space import trial_config
from study.spec import StudySpec

if TYPE_CHECKING:
    import torch

MOST_DRAWN = 2000
"""Points of a search that are drawn to estimate by."""
COSTS = (
    "family", "depth", "head", "head_width", "freeze", "init", "optimizer", "momentum", "ema_decay", "augmentation",
    "precision", "channels_last", "batch_size", "max_epochs",
)  # fmt: skip
"""Hyperparameters that make a trial longer or its files larger."""


class SpeedKey(NamedTuple):
    """What decides how fast a trial learns, beside the image size and the device."""

    family: str
    depth: int
    freeze: str
    batch_size: int
    precision: str
    channels_last: bool

    @property
    def model(self) -> tuple[str, int]:
        """Family and depth."""
        return self.family, self.depth

    def __str__(self) -> str:
        """Name it for people."""
        frozen = "" if self.freeze == "none" else f", freeze {self.freeze}"
        return f"{self.family} {self.depth}, batch {self.batch_size}, {self.precision}{frozen}"


class Kind(NamedTuple):
    """Trials that cost the same; ``config`` is one of them."""

    key: tuple[object, ...]
    config: TrialConfig


@dataclass(frozen=True)
class Work:
    """The trials of a study, as far as known beforehand.

    ``points`` are all of a listed design; those of a search are ``drawn`` at random, as many as it may try, up to
    ``MOST_DRAWN``, and the rest of its trials count as being like those. ``kinds`` has one entry per trial, in the
    order of their start.
    """

    points: tuple[Mapping[str, Scalar], ...]
    kinds: tuple[Kind, ...]
    drawn: bool

    @property
    def trials(self) -> int:
        """The most trials there can be."""
        return len(self.kinds)

    @property
    def epochs(self) -> int:
        """The most epochs of all trials together."""
        return sum(one.config.max_epochs for one in self.kinds)


def speed_key(config: TrialConfig, device: torch.device) -> SpeedKey:
    """Return what decides how fast a trial learns, every "auto" decided as the device would."""
    from study.training.device import resolve_precision

    precision, channels_last = resolve_precision(config, device)
    return SpeedKey(config.family, config.depth, config.freeze, config.batch_size, precision, channels_last)


def work_of(spec: StudySpec) -> Work:
    """List what a study is to do.

    Raises:
        DesignError: the space does not admit the design.
    """
    trials, replicates = planned_trials(spec), len(spec.replicates.numbers)
    listed = listed_points(spec)
    if listed is None:
        points = draw_points(spec.space, min(MOST_DRAWN, -(-trials // replicates)), spec.search.seed)
        numbers: Iterator[int] = (at for at in cycle(range(len(points))) for _ in range(replicates))
    else:
        points = list(islice(listed, count_points(spec)))
        numbers = (at for _ in range(replicates) for at in range(len(points)))
    kinds = _kinds(spec, points)
    chosen = tuple(kinds[at] for at in islice(numbers, trials))
    return Work(tuple(points), chosen, drawn=listed is None)


def _kinds(spec: StudySpec, points: list[dict[str, Scalar]]) -> list[Kind]:
    """Return the kind of every point; a trial's configuration is made once per kind."""
    fixed: dict[str, Any] = {**spec.trial.model_dump(), **constants(spec.space)}
    known: dict[tuple[object, ...], Kind] = {}
    found = []
    for at, point in enumerate(points):
        values = {**fixed, **point}
        key = tuple(values[name] for name in COSTS)
        if key not in known:
            known[key] = Kind(key, trial_config(spec, point, point=at))
        found.append(known[key])
    return found
