"""What a study would cost, from numbers alone: trials, models, time, disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from training_kit import CPU, noisy_halves

from study.config.hyperparameters import TrialConfig
from study.config.search_config import (
    BudgetSpec,
    DesignSpec,
    KeepSpec,
    Objective,
    ReplicatesSpec,
    ResourceSpec,
    SearchSpec,
)
from study.config.search_space import Choice, Condition, Integer, Parameter, Uniform
from study.config.study_config import DataSpec, StudySpec
from study.data import load_data
from study.planning.disk_usage import TrialFileSizes, count_parameters, disk_usage, training_flops, trial_file_sizes
from study.planning.schedule import Machine, first_limit, inspect_machine, make_schedule
from study.planning.throughput import Speed, complete_speeds
from study.planning.workload import ImageCounts, SpeedKey, count_images, sample_points, study_workload
from study.training.checkpoint import best_folder
from study.training.trainer import train

SPACE = (
    Parameter(name="depth", domain=Choice(values=(10, 18))),
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
    Parameter(
        name="momentum",
        domain=Uniform(low=0.0, high=0.9),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
    Parameter(name="batch_size", domain=Integer(low=8, high=64, log=True)),
)
LISTED = SPACE[:2]


def _spec(kind: str = "search", **changed: object) -> StudySpec:
    space = SPACE if kind == "search" else LISTED
    given = {"name": "p", "space": space, "design": DesignSpec(kind=kind), **changed}  # type: ignore[arg-type]
    return StudySpec.model_validate(given)


def test_drawn_points_are_of_the_space_and_differ() -> None:
    points = sample_points(SPACE, 200, seed=1)
    assert len({tuple(point.items()) for point in points}) == 200
    assert all(("momentum" in point) == (point["optimizer"] == "sgd") for point in points)
    rates = [float(point["learning_rate"]) for point in points]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert 0.35 < sum(rate < math.sqrt(1e-5) for rate in rates) / 200 < 0.65, (
        "half of a log range lies below its middle"
    )
    assert {int(point["batch_size"]) for point in points} <= set(range(8, 65))
    assert points == sample_points(SPACE, 200, seed=1) != sample_points(SPACE, 200, seed=2)


def test_a_small_space_is_drawn_out_and_no_point_twice() -> None:
    assert len(sample_points(LISTED, 100, seed=0)) == 4


def test_replicates_of_a_search_follow_their_point_and_those_of_a_design_come_in_passes() -> None:
    seeds = {"replicates": ReplicatesSpec(count=2)}
    search = study_workload(_spec(search=SearchSpec(trials=5), **seeds))
    assert (search.trials, len(search.points), search.drawn) == (5, 3, True)
    assert search.kinds[0] == search.kinds[1]
    grid = study_workload(_spec("grid", **seeds))
    assert (grid.trials, len(grid.points), grid.drawn) == (8, 4, False)
    assert grid.kinds[:4] == grid.kinds[4:]
    assert study_workload(_spec("grid", budget=BudgetSpec(trials=3))).trials == 3


def test_epochs_are_counted_trial_by_trial() -> None:
    space = (Parameter(name="max_epochs", domain=Choice(values=(2, 5))),)
    assert study_workload(_spec("grid", space=space)).epochs == 7


def test_a_large_design_is_sorted_into_few_kinds() -> None:
    space = (*LISTED, Parameter(name="learning_rate", domain=Uniform(low=1.0, high=2000.0, step=1.0)))
    work = study_workload(_spec("grid", space=space))
    assert work.trials == 8000
    assert len(set(work.kinds)) == 4


def test_trials_go_to_the_slot_that_is_free_first() -> None:
    table = make_schedule([5.0, 1.0, 1.0, 4.0], slots=2)
    assert table.spans == ((0.0, 5.0), (0.0, 1.0), (1.0, 2.0), (2.0, 6.0))
    assert (table.wall_s, table.busy_s, table.ended_by(2.0)) == (6.0, 11.0, 2)


def test_the_limit_that_comes_first_is_named() -> None:
    table = make_schedule([3600.0] * 8, slots=2)
    assert first_limit(table, wall_clock_s=None, accelerator_hours=None, gpus_per_trial=1) is None
    assert first_limit(table, wall_clock_s=5 * 3600, accelerator_hours=9, gpus_per_trial=1) is None
    clock = first_limit(table, wall_clock_s=2.5 * 3600, accelerator_hours=6, gpus_per_trial=1)
    assert clock is not None
    assert (clock.name, clock.ended) == ("wall_clock", 4)
    hours = first_limit(table, wall_clock_s=3.5 * 3600, accelerator_hours=6, gpus_per_trial=1)
    assert hours is not None
    assert hours.name == "accelerator_hours"
    assert hours.at_s == pytest.approx(3 * 3600, rel=0.01)
    assert first_limit(table, wall_clock_s=None, accelerator_hours=1, gpus_per_trial=0) is None, "the CPU is none"


def _key(depth: int, batch: int = 64) -> SpeedKey:
    return SpeedKey("resnet", depth, "none", batch, "fp32", False)


def test_a_trial_takes_its_epochs_and_what_comes_once() -> None:
    speed = Speed(train_image_s=0.01, scored_image_s=0.002, epoch_s=0.5, trial_s=3.0, source="")
    assert speed.time_s(epochs=4, train=100, scored=50) == pytest.approx(3 + 4 * (1 + 0.1 + 0.5))


def test_what_is_not_measured_is_scaled_from_the_nearest_and_says_so() -> None:
    flops = {10: 1.0, 18: 2.0, 34: 4.0}
    known = {_key(10): Speed(1.0, 0.5, 0.1, 2.0, "measured"), _key(18): Speed(3.0, 1.0, 0.1, 2.0, "measured")}
    wanted = [_key(10), _key(34), _key(18, 32)]
    speeds = complete_speeds(known, wanted, lambda key: flops[key.depth])
    assert speeds[_key(10)].source == "measured"
    assert speeds[_key(34)].train_image_s == 6.0
    assert speeds[_key(34)].epoch_s == 0.1
    assert "x 2.00, from resnet 18" in speeds[_key(34)].source
    assert speeds[_key(18, 32)].train_image_s == 3.0
    assert complete_speeds({}, wanted, lambda key: 1.0) == {}, "no number is invented"


def test_models_are_sized_without_their_weights() -> None:
    assert count_parameters("resnet", 18) == 11_177_025
    whole = training_flops("resnet", 18, "none", 64)
    assert whole == pytest.approx(4 * training_flops("resnet", 18, "none", 32), rel=0.01)
    assert training_flops("resnet", 18, "backbone", 64) < whole / 2


@pytest.mark.parametrize(
    "changed",
    [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.0}, {"optimizer": "sgd"}, {"optimizer": "rmsprop"},
     {"optimizer": "adamw", "ema_decay": 0.9, "head": "mlp"}, {"freeze": "backbone"},
     {"freeze": "backbone", "ema_decay": 0.9}],
)  # fmt: skip
def test_a_trials_files_are_as_large_as_foretold(changed: dict[str, object], tmp_path: Path) -> None:
    config = TrialConfig.model_validate(
        {"depth": 10, "max_epochs": 2, "batch_size": 16, "seed": 1, "point": 0, **changed}
    )
    data = noisy_halves(train=32, val=16, size=16)
    progress = next(iter(train(config, data, Objective(metric="val_loss", mode="min"), tmp_path, device=CPU)))
    sizes = trial_file_sizes(config, outputs=1, val_images=16)
    assert progress.best_epoch is not None
    best = sum(path.stat().st_size for path in best_folder(tmp_path, progress.best_epoch).iterdir())
    assert best == pytest.approx(sizes.best_bytes, rel=0.01)
    assert (tmp_path / "last.pt").stat().st_size == pytest.approx(sizes.last_bytes, rel=0.01, abs=20_000)


def test_the_disk_holds_the_running_and_the_best() -> None:
    small, large = TrialFileSizes(10, 30), TrialFileSizes(100, 300)
    pictures = ImageCounts(train=6, val=2, test=2, shifted=1, classes=2, image_size_px=10)
    weights = {("rotation", "resnet", 10): 7, ("imagenet", "resnet", 10): 9}
    usage = disk_usage([small] * 4 + [large] * 2, 3, KeepSpec(), pictures, weights=weights)
    assert usage.running_bytes == 2 * 700 + 70
    assert usage.kept_bytes == 210
    assert usage.weights_bytes == 7, "published weights are not stored again"
    assert usage.images_bytes == 11 * 300
    assert usage.memory_bytes == 9 * 300 + 16
    assert usage.disk_bytes == 1470 + 210 + 7 + 3300
    everything = disk_usage([small] * 4, 1, KeepSpec(per_study="all"), pictures, weights={})
    assert everything.kept_bytes == 40


def test_images_are_counted_as_they_are_loaded() -> None:
    spec = DataSpec(image_size_px=16, count=60, seed=5)
    counted = count_images(spec)
    assert counted.cached_bytes == 0
    data = load_data(spec)
    assert (counted.train, counted.val, counted.test) == (len(data.train), len(data.val), len(data.test))
    assert counted.shifted == sum(map(len, data.shifted.values()))
    cached = count_images(spec).cached_bytes
    assert counted.decoded_bytes < cached < 1.2 * counted.decoded_bytes


def test_slots_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.planning.schedule.available_cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert inspect_machine(ResourceSpec(gpus_per_trial=0), 100).slots == 8
    assert inspect_machine(ResourceSpec(gpus_per_trial=0, cpus_per_trial=3), 100).slots == 2
    shared = inspect_machine(ResourceSpec(gpus_per_trial=0.25), 100)
    assert (shared.slots, shared.together, shared.kind) == (8, 4, "cuda")
    whole = inspect_machine(ResourceSpec(), 100)
    assert (whole.slots, whole.together, whole.packs) == (2, 1, True)
    assert inspect_machine(ResourceSpec(gpus_per_trial=4), 100).slots == 0
    assert inspect_machine(ResourceSpec(gpus_per_trial=0, max_concurrent_trials=3), 100).slots == 3
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    none = inspect_machine(ResourceSpec(gpus_per_trial=1), 100)
    assert none == Machine(8, 0, 1, 1.0, 0)
