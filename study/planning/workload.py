"""List a study's trials before it runs, grouped by what they cost, and count its images."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from study.config.hyperparameters import Scalar, TrialConfig
from study.config.search_space import Parameter
from study.config.study_config import DataSpec, StudySpec, stable_seed
from study.data.dataset import SPLITS
from study.data.sources import cache_entry, plan_data
from study.designs import count_points, listed_points, planned_trials
from study.designs.space import constants
from study.search.samplers import value_at
from study.search.space import active_distributions, exact_value, trial_config

if TYPE_CHECKING:
    import torch


PATIENCE = 50
"""Draws in a row without a new point after which a finite space counts as exhausted."""


def sample_points(space: Sequence[Parameter], count: int, seed: int) -> list[dict[str, Scalar]]:
    """Draw different points of a space at random; fewer if it seems to have no more.

    Args:
        space: the parameters of a study.
        count: how many points.
        seed: the same seed gives the same points.
    """
    rng = random.Random(stable_seed(seed, "plan"))
    points: dict[tuple[object, ...], dict[str, Scalar]] = {}
    in_vain = 0
    while len(points) < count and in_vain < PATIENCE:
        point, known = dict[str, Scalar](), constants(space)
        for parameter, _, asked in active_distributions(space, known):
            point[parameter.name] = known[parameter.name] = exact_value(asked, value_at(asked, rng.random()))
        before = len(points)
        points.setdefault(tuple(point.items()), point)
        in_vain = 0 if len(points) > before else in_vain + 1
    return list(points.values())


CHANNELS = 3


@dataclass(frozen=True)
class ImageCounts:
    """Numbers of a study's images; ``cached_bytes`` is the size of those decoded in the cache already."""

    train: int
    val: int
    test: int
    shifted: int
    classes: int
    image_size_px: int
    cached_bytes: int = 0

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all images in the cache."""
        return self._bytes(self.train + self.val + self.test + self.shifted)

    @property
    def shared_bytes(self) -> int:
        """Bytes that trials share in memory once per node: all but the test images."""
        return self._bytes(self.train + self.val + self.shifted)

    def _bytes(self, images: int) -> int:
        return images * self.image_size_px**2 * CHANNELS


def count_images(spec: DataSpec) -> ImageCounts:
    """Count the images of each split; broken files are found only when they are decoded.

    Raises:
        DataError: the images cannot be found or split.
    """
    plan = plan_data(spec)
    shifted = sum(size for name, size in plan.sizes.items() if name not in SPLITS)
    entry = cache_entry(spec, plan)
    cached = sum(file.stat().st_size for file in entry.glob("*.npy")) if entry.is_dir() else 0
    return ImageCounts(
        plan.sizes["train"], plan.sizes["val"], plan.sizes.get("test", 0), shifted, len(plan.classes),
        spec.image_size_px, cached,
    )  # fmt: skip


MOST_DRAWN = 2000
"""How many points of a search are drawn for the estimate."""
COSTS = (
    "family", "depth", "head", "head_width", "freeze", "init", "optimizer", "momentum", "ema_decay", "augmentation",
    "precision", "channels_last", "batch_size", "max_epochs",
)  # fmt: skip
"""Hyperparameters that make a trial longer or its files larger."""


class SpeedKey(NamedTuple):
    """What determines how fast a trial trains, besides the image size and the device."""

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
        """Return a readable name."""
        frozen = "" if self.freeze == "none" else f", freeze {self.freeze}"
        return f"{self.family} {self.depth}, batch {self.batch_size}, {self.precision}{frozen}"


class TrialKind(NamedTuple):
    """Trials that cost the same; ``config`` is an example."""

    key: tuple[object, ...]
    config: TrialConfig


@dataclass(frozen=True)
class Workload:
    """The trials of a study as far as they are known beforehand.

    ``points`` are all points of a listed design; those of a search are ``drawn`` at random, up to ``MOST_DRAWN``, and
    its other trials are assumed to be like them. ``kinds`` has one entry per trial, in the order of their start.
    """

    points: tuple[Mapping[str, Scalar], ...]
    kinds: tuple[TrialKind, ...]
    drawn: bool

    @property
    def trials(self) -> int:
        """The maximum number of trials."""
        return len(self.kinds)

    @property
    def epochs(self) -> int:
        """The maximum number of epochs of all trials together."""
        return sum(kind.config.max_epochs for kind in self.kinds)


def speed_key(config: TrialConfig, device: torch.device) -> SpeedKey:
    """Return what determines a trial's speed, with every "auto" resolved for the device."""
    from study.training.device import resolve_precision

    precision, channels_last = resolve_precision(config, device)
    return SpeedKey(config.family, config.depth, config.freeze, config.batch_size, precision, channels_last)


def study_workload(spec: StudySpec) -> Workload:
    """Return the trials of a study.

    Raises:
        DesignError: the space does not admit the design.
    """
    trials, replicates = planned_trials(spec), len(spec.replicates.numbers)
    listed = listed_points(spec)
    if listed is None:
        points = sample_points(spec.space, min(MOST_DRAWN, -(-trials // replicates)), spec.search.seed)
        numbers: Iterator[int] = (at for at in cycle(range(len(points))) for _ in range(replicates))
    else:
        points = list(islice(listed, count_points(spec)))
        numbers = (at for _ in range(replicates) for at in range(len(points)))
    kinds = _kinds(spec, points)
    chosen = tuple(kinds[at] for at in islice(numbers, trials))
    return Workload(tuple(points), chosen, drawn=listed is None)


def _kinds(spec: StudySpec, points: list[dict[str, Scalar]]) -> list[TrialKind]:
    """Return the kind of every point, with one configuration per kind."""
    fixed: dict[str, Any] = {**spec.trial.model_dump(), **constants(spec.space)}
    known: dict[tuple[object, ...], TrialKind] = {}
    kinds = []
    for index, point in enumerate(points):
        values = {**fixed, **point}
        key = tuple(values[name] for name in COSTS)
        if key not in known:
            known[key] = TrialKind(key, trial_config(spec, point, point=index))
        kinds.append(known[key])
    return kinds
