"""Plan a study: trials, time, disk; starts neither trials nor a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from study.config.study_config import StudySpec
from study.engine.environment import describe_environment
from study.planning.disk_usage import DiskUsage, TrialFileSizes, disk_usage, training_flops, trial_file_sizes
from study.planning.schedule import Limit, Machine, Schedule, first_limit, inspect_machine, make_schedule
from study.planning.speed_measurement import calibrate, expected_s
from study.planning.throughput import Speed, complete_speeds, known_speeds, scores_shifted_each_epoch
from study.planning.workload import ImageCounts, SpeedKey, TrialKind, Workload, count_images, speed_key, study_workload

MOST_MEASURED = 6
TURNS = 4
"""Rotations in which pretraining sees every image."""


@dataclass(frozen=True)
class Timing:
    """The maximum duration of a study: ``pretraining`` of backbones, then the trials; ``limit`` may end it earlier."""

    speeds: Mapping[SpeedKey, Speed]
    pretraining: Schedule
    trials: Schedule
    limit: Limit | None

    @property
    def busy_s(self) -> float:
        """The time of everything that runs in slots, added up."""
        return self.pretraining.busy_s + self.trials.busy_s


@dataclass(frozen=True)
class Plan:
    """What a study would do and need; if ``timing`` is None, ``unknown`` says why and how to measure it.

    ``models`` counts the trials of each kind of model.
    """

    spec: StudySpec
    work: Workload
    pictures: ImageCounts
    machine: Machine
    models: Mapping[SpeedKey, int]
    disk_usage: DiskUsage
    timing: Timing | None
    unknown: str = ""


def plan_study(
    spec: StudySpec, results: Path, *, measure: bool = False, say: Callable[[str], None] = lambda line: None
) -> Plan:
    """Plan a study.

    Args:
        spec: what to run.
        results: folder of all studies; earlier runs show how fast this machine is.
        measure: run a few steps of models without an earlier run.
        say: shows what is being measured.

    Raises:
        DesignError: the space does not admit the design.
        DataError: the images cannot be found or split.
        EngineError: a model cannot be measured.
    """
    work, pictures = study_workload(spec), count_images(spec.data)
    machine = inspect_machine(spec.resources, work.trials)
    keys = {kind: speed_key(kind.config, machine.device) for kind in dict.fromkeys(work.kinds)}
    models = Counter(keys[kind] for kind in work.kinds)
    sizes = _footprints(keys, pictures)
    needs = disk_usage(
        [sizes[kind] for kind in work.kinds], max(1, machine.slots), spec.keep, pictures, weights=_weights(keys, sizes)
    )
    if machine.slots == 0:
        return Plan(spec, work, pictures, machine, models, needs, None, _no_room(machine))
    speeds, unknown = _speeds(spec, results, keys, models, machine, say if measure else None)
    timing = None if unknown else _timing(spec, work, keys, pictures, machine, speeds)
    return Plan(spec, work, pictures, machine, models, needs, timing, unknown)


def _footprints(kinds: Iterable[TrialKind], pictures: ImageCounts) -> dict[TrialKind, TrialFileSizes]:
    """Return the file sizes of every kind, computed once for kinds with equal files."""
    outputs = 1 if pictures.classes == 2 else pictures.classes
    known: dict[tuple[object, ...], TrialFileSizes] = {}
    sizes = {}
    for kind in kinds:
        config = kind.config
        copies = (config.optimizer, config.resolved_momentum() == 0, config.ema_decay is not None)
        alike = (config.family, config.depth, config.head, config.head_width, config.freeze, *copies)
        known[alike] = known.get(alike) or trial_file_sizes(config, outputs, pictures.val)
        sizes[kind] = known[alike]
    return sizes


def _weights(kinds: Iterable[TrialKind], sizes: Mapping[TrialKind, TrialFileSizes]) -> dict[tuple[str, str, int], int]:
    """Return the bytes of initial weights that are not drawn at random."""
    given = [kind for kind in kinds if kind.config.init.startswith(("imagenet", "rotation", "checkpoint:", "run:"))]
    return {(kind.config.init, kind.config.family, kind.config.depth): sizes[kind].best_bytes for kind in given}


def _no_room(machine: Machine) -> str:
    return (
        f"a trial asks for {machine.cpus_per_trial} CPUs and {machine.gpus_per_trial:g} GPUs, and this machine has "
        f"{machine.cores} CPUs and {machine.gpus} GPUs; plan where the study is to run"
    )


def _speeds(
    spec: StudySpec,
    results: Path,
    keys: Mapping[TrialKind, SpeedKey],
    models: Mapping[SpeedKey, int],
    machine: Machine,
    say: Callable[[str], None] | None,
) -> tuple[dict[SpeedKey, Speed], str]:
    """Return a speed for every kind of model, or none and the reason; with ``say`` missing ones are measured."""
    size, wanted = spec.data.image_size_px, list(models)

    def flops(key: SpeedKey) -> float:
        return training_flops(key.family, key.depth, key.freeze, size)

    cpu = describe_environment().get("cpu", "")
    known = known_speeds(results, {key.model for key in wanted}, size, machine, cpu)
    lacking = [key for key in wanted if key.model not in {other.model for other in known}]
    if lacking and say is None:
        named = ", ".join(dict.fromkeys(f"{key.family} {key.depth}" for key in lacking))
        measured = min(MOST_MEASURED, len(lacking))
        why = f"no earlier run in {results} tells of {named} at {size} px on this device"
        return {}, f"{why}; --calibrate measures it (about {expected_s(measured):.0f} s)"
    if lacking and say is not None:
        share = {key: models[key] * flops(key) for key in lacking}
        chosen = _to_measure(share)
        configs = {key: kind.config for kind, key in keys.items()}
        measured_speeds = calibrate([configs[key] for key in chosen], size, machine, say)
        known |= dict(zip(chosen, measured_speeds, strict=True))
    return complete_speeds(known, wanted, flops), ""


def _to_measure(share: Mapping[SpeedKey, float]) -> list[SpeedKey]:
    """Choose what to measure: of each model the kind with most of the work, then the largest of the rest."""
    by_share = sorted(share, key=lambda key: share[key], reverse=True)
    firsts = list({key.model: key for key in reversed(by_share)}.values())[::-1]
    return [*firsts, *(key for key in by_share if key not in firsts)][:MOST_MEASURED]


def _timing(
    spec: StudySpec,
    work: Workload,
    keys: Mapping[TrialKind, SpeedKey],
    pictures: ImageCounts,
    machine: Machine,
    speeds: Mapping[SpeedKey, Speed],
) -> Timing:
    lengths = {kind: _trial_s(spec, kind, pictures, speeds[key]) for kind, key in keys.items()}
    turned = {
        (key.family, key.depth): TURNS * pictures.train * spec.rotation.epochs * speeds[key].train_image_s
        for kind, key in keys.items()
        if kind.config.init == "rotation"
    }
    before = make_schedule(list(turned.values()), machine.slots)
    table = make_schedule([lengths[kind] for kind in work.kinds], machine.slots)
    limit = first_limit(
        table,
        wall_clock_s=spec.budget.wall_clock_s,
        accelerator_hours=spec.budget.accelerator_hours,
        gpus_per_trial=machine.gpus_per_trial,
    )
    return Timing(speeds, before, table, limit)


def _trial_s(spec: StudySpec, kind: TrialKind, pictures: ImageCounts, speed: Speed) -> float:
    """Return the time of a trial that runs to its last epoch."""
    config = kind.config
    stops_by = config.early_stopping_metric if config.early_stopping_patience is not None else ""
    every_epoch = pictures.shifted if scores_shifted_each_epoch(spec.objective.metric, stops_by) else 0
    once = pictures.shifted * speed.scored_image_s
    return speed.time_s(config.max_epochs, pictures.train, pictures.val + every_epoch) + once
