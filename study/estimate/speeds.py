"""Know how fast each kind of model learns: measured, read from earlier runs, or scaled from another; pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from study.estimate.work import SpeedKey

BATCH_WEIGHT = 0.25
"""How much a batch of another size counts beside a model of another size, in the choice of what to scale from."""


@dataclass(frozen=True)
class Speed:
    """What a trial's time is made of, in seconds; ``source`` says how that is known.

    ``epoch_s`` comes on top of the images of every epoch: its checkpoint is written, its metrics are computed.
    ``trial_s`` comes once: the model is built, the first steps are slow, the shifted images are scored.
    """

    train_image_s: float
    scored_image_s: float
    epoch_s: float
    trial_s: float
    source: str

    def time_s(self, epochs: int, train: int, scored: int) -> float:
        """Return how long a trial takes that trains on and scores so many images in every epoch."""
        return self.trial_s + epochs * (train * self.train_image_s + scored * self.scored_image_s + self.epoch_s)

    def scaled(self, factor: float, source: str) -> Speed:
        """Return the speed of a model with so many times the operations."""
        return replace(
            self,
            train_image_s=self.train_image_s * factor,
            scored_image_s=self.scored_image_s * factor,
            source=source,
        )


def complete(
    known: Mapping[SpeedKey, Speed], wanted: list[SpeedKey], flops: Callable[[SpeedKey], float]
) -> dict[SpeedKey, Speed]:
    """Return a speed for all that are wanted, scaled by operations from the nearest known one; none if none is known.

    Args:
        known: what was measured or read.
        wanted: every kind in the plan.
        flops: operations of one training step per image.
    """
    if not known:
        return {}
    operations = {key: flops(key) for key in {*known, *wanted}}
    return {key: known.get(key) or _scaled(key, known, operations) for key in wanted}


def _scaled(key: SpeedKey, known: Mapping[SpeedKey, Speed], operations: Mapping[SpeedKey, float]) -> Speed:
    def distance(other: SpeedKey) -> float:
        work = abs(math.log(operations[key] / operations[other]))
        batch = BATCH_WEIGHT * abs(math.log(key.batch_size / other.batch_size))
        precision = (key.precision, key.channels_last) != (other.precision, other.channels_last)
        return work + batch + precision

    nearest = min(known, key=distance)
    factor = operations[key] / operations[nearest]
    return known[nearest].scaled(factor, f"scaled by operations, x {factor:.2f}, from {nearest}")
