"""Estimate the speed of models on this machine from earlier studies; reads the results folder only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

from study.checkpoint_card import read_card
from study.config.hyperparameters import TrialConfig
from study.errors import StudyStorageError
from study.metric_catalog import SHIFTED_METRIC_PREFIX
from study.paths import Layout
from study.planning.schedule import Machine
from study.planning.workload import SpeedKey, speed_key
from study.records import TrialRecord, TrialState
from study.storage.study_storage import StudyStorage

BATCH_WEIGHT = 0.25
"""Weight of a different batch size against a different model size in choosing the known speed to scale from."""


@dataclass(frozen=True)
class Speed:
    """The parts of a trial's time in seconds; ``source`` describes how they are known.

    ``epoch_s`` is spent once per epoch on checkpoint and metrics; ``trial_s`` once per trial on building the model, the
    slow first steps and scoring the shifted images.
    """

    train_image_s: float
    scored_image_s: float
    epoch_s: float
    trial_s: float
    source: str

    def time_s(self, epochs: int, train: int, scored: int) -> float:
        """Return the duration of a trial that trains on and scores so many images in every epoch."""
        return self.trial_s + epochs * (train * self.train_image_s + scored * self.scored_image_s + self.epoch_s)

    def scaled(self, factor: float, source: str) -> Speed:
        """Return the speed of a model with ``factor`` times the operations."""
        return replace(
            self,
            train_image_s=self.train_image_s * factor,
            scored_image_s=self.scored_image_s * factor,
            source=source,
        )


def complete_speeds(
    known: Mapping[SpeedKey, Speed], wanted: list[SpeedKey], flops: Callable[[SpeedKey], float]
) -> dict[SpeedKey, Speed]:
    """Return a speed for every wanted key, scaled by operations from the nearest known one; empty if none is known.

    Args:
        known: speeds that were measured or read.
        wanted: every key in the plan.
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
"""How many earlier studies are read, newest first."""
MEASURED = ("epoch_s", "images_per_s")


@dataclass(frozen=True)
class ObservedSpeed:
    """Times of one trial in seconds; None if its record does not contain them.

    After a single epoch ``epoch_s`` cannot be separated from ``trial_s``.
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
        models: family and depth of the wanted models.
        image_size_px: side of the images.
        machine: trials must have had as many CPUs, on the same kind of device.
        cpu: name of this machine's CPU; CPU studies with another one are ignored.
    """
    wanted = set(models)
    observed: dict[SpeedKey, list[ObservedSpeed]] = {}
    for _, layout in islice(Layout(results).studies(), MOST_STUDIES):
        with suppress(StudyStorageError):  # another study's damaged storage is no reason to stop
            storage = StudyStorage.open(layout)
            if _is_comparable(storage, image_size_px, machine, cpu):
                for key, speed in _observed_in(storage, wanted, machine):
                    observed.setdefault(key, []).append(speed)
    return {key: _median(speeds) for key, speeds in observed.items()}


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
    """Return the device of a study's trials as stored in the first readable checkpoint."""
    for record in records:
        if record.checkpoint is not None:
            with suppress(OSError, ValueError):
                return read_card(Path(record.checkpoint)).device
    return None


def _observed_in(
    storage: StudyStorage, wanted: set[tuple[str, int]], machine: Machine
) -> Iterator[tuple[SpeedKey, ObservedSpeed]]:
    sizes = storage.data.sizes
    shifted = sum(size for name, size in sizes.items() if name not in ("train", "val", "test"))
    scored = sizes["val"] + (shifted if scores_shifted_each_epoch(storage.spec.objective.metric) else 0)
    for record in storage.records():
        usable = record.state in (TrialState.COMPLETE, TrialState.PRUNED) and record.attempts == 1
        is_measured = all(name in epoch.values for epoch in record.history for name in MEASURED)
        if usable and is_measured and record.history and (record.config["family"], record.config["depth"]) in wanted:
            config = TrialConfig.model_validate(dict(record.config))
            ends = [epoch.at_s for epoch in storage.epochs(record.trial)]
            yield speed_key(config, machine.device), _observe(record, ends, sizes["train"], scored)


def scores_shifted_each_epoch(objective: str, early_stopping_metric: str = "") -> bool:
    """Return whether objective or early stopping use shifted images, which then are scored in every epoch."""
    return any(name.startswith(SHIFTED_METRIC_PREFIX) for name in (objective, early_stopping_metric))


def _observe(record: TrialRecord, ends: Sequence[float], train: int, scored: int) -> ObservedSpeed:
    """Split a trial's time into its parts; ``ends`` are the times at which its epochs were stored."""
    values: list[Mapping[str, float]] = [epoch.values for epoch in record.history]
    learning = [train / epoch["images_per_s"] for epoch in values]
    scoring = [max(0.0, epoch["epoch_s"] - spent) for epoch, spent in zip(values, learning, strict=True)]
    between = [after - before for before, after in pairwise(ends)]
    gaps = [max(0.0, gap - epoch["epoch_s"]) for gap, epoch in zip(between, values[1:], strict=True)]
    rest = median(gaps) if gaps else None
    whole = None
    if record.started_at_s is not None and record.finished_at_s is not None:
        inside = sum(epoch["epoch_s"] for epoch in values) + (rest or 0.0) * len(values)
        whole = max(0.0, record.finished_at_s - record.started_at_s - inside)
    return ObservedSpeed(median(learning) / train, median(scoring) / scored, rest, whole)


def _median(speeds: Sequence[ObservedSpeed]) -> Speed:
    count = len(speeds)
    longer = [speed for speed in speeds if speed.epoch_s is not None] or speeds
    return Speed(
        train_image_s=median(speed.train_image_s for speed in speeds),
        scored_image_s=median(speed.scored_image_s for speed in speeds),
        epoch_s=median([speed.epoch_s for speed in longer if speed.epoch_s is not None] or [0.0]),
        trial_s=median([speed.trial_s for speed in longer if speed.trial_s is not None] or [0.0]),
        source=f"from {count} earlier trial{'s' * (count > 1)}",
    )
