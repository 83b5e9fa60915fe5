"""Read from earlier studies how fast models learn on this machine; changes nothing in the results folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

from study.config.hyperparameters import TrialConfig
from study.errors import StudyStorageError
from study.metrics import SHIFTED_PREFIX
from study.paths import Layout, StudyLayout
from study.planning.schedule import Machine
from study.planning.workload import SpeedKey, speed_key
from study.records import TrialRecord, TrialState
from study.storage.study_storage import StudyStorage
from study.training.checkpoint import read_card

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


def complete_speeds(
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


MOST_STUDIES = 20
"""Earlier studies that are looked at, the newest first."""
MEASURED = ("epoch_s", "images_per_s")


@dataclass(frozen=True)
class ObservedSpeed:
    """How one trial went, in seconds; None where its record does not tell.

    After a single epoch ``epoch_s`` is not known apart from ``trial_s``.
    """

    train_image_s: float
    scored_image_s: float
    epoch_s: float | None
    trial_s: float | None


def known_speeds(
    results: Path, models: Iterable[tuple[str, int]], image_size_px: int, machine: Machine, cpu: str
) -> dict[SpeedKey, Speed]:
    """Return the median speeds of earlier trials of the same models at the same image size on such a device.

    Args:
        results: the folder of all studies.
        models: family and depth of those that are asked for.
        image_size_px: side of the images.
        machine: trials must have had as many CPUs, on the same kind of device.
        cpu: name of this machine's CPU; studies that name another one do not count on the CPU.
    """
    wanted = set(models)
    seen: dict[SpeedKey, list[ObservedSpeed]] = {}
    for _, layout in islice(Layout(results).studies(), MOST_STUDIES):
        with suppress(StudyStorageError):  # another study's damaged storage is no reason to stop
            storage = StudyStorage.open(layout)
            if _is_comparable(storage, image_size_px, machine, cpu):
                for key, one in _seen_in(storage, layout, wanted, machine):
                    seen.setdefault(key, []).append(one)
    return {key: _median(found) for key, found in seen.items()}


def _is_comparable(storage: StudyStorage, image_size_px: int, machine: Machine, cpu: str) -> bool:
    if (
        storage.spec.data.image_size_px != image_size_px
        or storage.spec.resources.cpus_per_trial != machine.cpus_per_trial
    ):
        return False
    if machine.kind == "cpu" and storage.environment.get("cpu", cpu) != cpu:
        return False
    return _device_kind(storage.records()) == machine.kind


def _device_kind(records: Sequence[TrialRecord]) -> str | None:
    """Return on what a study's trials ran, as the first readable checkpoint says."""
    for record in records:
        if record.checkpoint is not None:
            with suppress(OSError, ValueError):
                return read_card(Path(record.checkpoint)).device
    return None


def _seen_in(
    storage: StudyStorage, layout: StudyLayout, wanted: set[tuple[str, int]], machine: Machine
) -> Iterator[tuple[SpeedKey, ObservedSpeed]]:
    sizes = storage.data.sizes
    shifted = sum(size for name, size in sizes.items() if name not in ("train", "val", "test"))
    scored = sizes["val"] + (shifted if scores_shifted_each_epoch(storage.spec.objective.metric) else 0)
    for record in storage.records():
        usable = record.state in (TrialState.COMPLETE, TrialState.PRUNED) and record.attempts == 1
        told = all(name in one.values for one in record.history for name in MEASURED)
        if usable and told and record.history and (record.config["family"], record.config["depth"]) in wanted:
            config = TrialConfig.model_validate(dict(record.config))
            ends = [one.at_s for one in storage.epochs(record.trial)]
            yield speed_key(config, machine.device), _see(record, ends, sizes["train"], scored)


def scores_shifted_each_epoch(objective: str, early_stopping_metric: str = "") -> bool:
    """Whether trials are steered by shifted images, which then are scored in every epoch."""
    return any(name.startswith(SHIFTED_PREFIX) for name in (objective, early_stopping_metric))


def _see(record: TrialRecord, ends: Sequence[float], train: int, scored: int) -> ObservedSpeed:
    """Take a trial apart; ``ends`` are the moments its epochs were stored."""
    values: list[Mapping[str, float]] = [one.values for one in record.history]
    learning = [train / one["images_per_s"] for one in values]
    scoring = [max(0.0, one["epoch_s"] - spent) for one, spent in zip(values, learning, strict=True)]
    between = [after - before for before, after in pairwise(ends)]
    gaps = [max(0.0, gap - one["epoch_s"]) for gap, one in zip(between, values[1:], strict=True)]
    beside = median(gaps) if gaps else None
    whole = None
    if record.started_at_s is not None and record.finished_at_s is not None:
        inside = sum(one["epoch_s"] for one in values) + (beside or 0.0) * len(values)
        whole = max(0.0, record.finished_at_s - record.started_at_s - inside)
    return ObservedSpeed(median(learning) / train, median(scoring) / scored, beside, whole)


def _median(found: Sequence[ObservedSpeed]) -> Speed:
    count = len(found)
    longer = [one for one in found if one.epoch_s is not None] or found
    return Speed(
        train_image_s=median(one.train_image_s for one in found),
        scored_image_s=median(one.scored_image_s for one in found),
        epoch_s=median([one.epoch_s for one in longer if one.epoch_s is not None] or [0.0]),
        trial_s=median([one.trial_s for one in longer if one.trial_s is not None] or [0.0]),
        source=f"from {count} earlier trial{'s' * (count > 1)}",
    )
