"""How fast models learn here: measured, or read from earlier studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from training_kit import CPU

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import BudgetSpec, DesignSpec, ResourceSpec, SearchSpec
from study.config.search_space import Choice, Parameter
from study.config.study_config import DataSpec, StudySpec
from study.designs import planned_trials
from study.paths import Layout
from study.planning import plan as planning
from study.planning import plan_study, speed_measurement
from study.planning import throughput as history
from study.planning.schedule import Machine
from study.planning.speed_measurement import calibrate, measure
from study.planning.throughput import Speed
from study.records import DataSummary, EpochMetrics, StopReason, TrialState
from study.storage.study_storage import StudyStorage
from study.training.checkpoint import best_folder

CONFIG = TrialConfig(depth=10, batch_size=8, max_epochs=1, seed=0, point=0, optimizer="sgd", learning_rate=0.1)
HERE = Machine(cores=2, gpus=0, cpus_per_trial=1, gpus_per_trial=0.0, slots=2)
SPEC = StudySpec(
    name="planned",
    data=DataSpec(image_size_px=16, count=60),
    trial=Hyperparameters(max_epochs=3, batch_size=12),
    space=(Parameter(name="depth", domain=Choice(values=(10, 18))),),
    design=DesignSpec(kind="grid"),
    resources=ResourceSpec(gpus_per_trial=0, max_concurrent_trials=1),
)
SUMMARY = DataSummary("faces", "f" * 64, 16, ("no", "yes"), {"train": 100, "val": 50, "test": 9, "shifted/dark": 30})


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_measurement, "ENOUGH_S", 0.2)


def test_a_model_is_measured_by_the_training_loop_itself() -> None:
    epoch, once_s = measure(CONFIG, 16, CPU, enough_s=0.2)
    assert epoch.train_image_s > epoch.scored_image_s > 0
    assert epoch.rest_s > 0, "checkpoints are written"
    assert once_s >= 0


def test_as_many_are_measured_at_once_as_would_run() -> None:
    said: list[str] = []
    (speed,) = calibrate([CONFIG], 16, HERE, said.append)
    assert speed.source == "measured with 2 at once"
    assert 0 < speed.train_image_s < 1
    assert said == ["measuring resnet 10 (1 of 1), 2 at once"]


def test_measuring_ends_in_time() -> None:
    assert not speed_measurement._is_enough(epochs=1, spent_s=10.0, first_s=10.0, enough_s=0.2)
    assert speed_measurement._is_enough(epochs=1, spent_s=21.0, first_s=21.0, enough_s=0.2)
    assert not speed_measurement._is_enough(epochs=3, spent_s=10.1, first_s=10.0, enough_s=0.2)
    assert speed_measurement._is_enough(epochs=3, spent_s=10.3, first_s=10.0, enough_s=0.2)


def _earlier(results: Path, *, name: str = "earlier", image_size_px: int = 16) -> StudyStorage:
    """Make a study whose trials took 2 s an epoch: 1 s for 100 images, 0.5 s for 50, 0.5 s for the rest."""
    layout = Layout(results).study(name)
    layout.root.mkdir(parents=True)
    data = SPEC.data.model_copy(update={"image_size_px": image_size_px})
    search = SearchSpec(trials=2, pruner="none", sampler="random")
    space = (Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),)
    trial = SPEC.trial.model_copy(update={"depth": 10})
    changed = {"name": name, "data": data, "trial": trial, "design": DesignSpec(), "search": search, "space": space}
    spec = SPEC.model_copy(update=changed)
    storage = StudyStorage.create(layout, spec, "", data=SUMMARY)
    for number in range(planned_trials(spec)):
        assignment = storage.ask()
        assert assignment is not None
        folder = best_folder(layout.trial(number), 1)
        for epoch in (1, 2, 3):
            values = {"val_auc": 0.5, "images_per_s": 100.0, "epoch_s": 1.5}
            storage.report(number, EpochMetrics(epoch, values), str(folder))
        storage.tell(number, TrialState.COMPLETE, StopReason.FINISHED)
    return storage


def _seen(monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> None:
    monkeypatch.setattr(history, "_device_kind", lambda records: device)


def test_earlier_trials_tell_how_fast_a_model_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = _earlier(tmp_path)
    _seen(monkeypatch)
    record = storage.record(0)
    ends = [100.0, 102.0, 104.0]
    record = replace(record, started_at_s=95.0, finished_at_s=104.5)
    seen = history._observe(record, ends, train=100, scored=50)
    assert seen == history.ObservedSpeed(train_image_s=0.01, scored_image_s=0.01, epoch_s=0.5, trial_s=3.5)
    speeds = history.known_speeds(tmp_path, [("resnet", 10), ("resnet", 18)], 16, HERE, "cpu")
    (speed,) = speeds.values()
    assert [key.model for key in speeds] == [("resnet", 10)]
    assert (speed.train_image_s, speed.scored_image_s) == (0.01, 0.01)
    assert speed.source == "from 2 earlier trials"


def test_only_comparable_studies_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _earlier(tmp_path, image_size_px=32)
    _seen(monkeypatch)
    assert not history.known_speeds(tmp_path, [("resnet", 10)], 16, HERE, "cpu"), "another image size"
    _earlier(tmp_path, name="same")
    assert history.known_speeds(tmp_path, [("resnet", 10)], 16, HERE, "cpu")
    four = replace(HERE, cpus_per_trial=4)
    assert not history.known_speeds(tmp_path, [("resnet", 10)], 16, four, "cpu"), "other threads"
    _seen(monkeypatch, "cuda")
    assert not history.known_speeds(tmp_path, [("resnet", 10)], 16, HERE, "cpu"), "another device"


def test_a_damaged_study_is_no_reason_to_stop(tmp_path: Path) -> None:
    layout = Layout(tmp_path).study("broken")
    layout.root.mkdir(parents=True)
    layout.journal.write_text("{]\n")
    assert history.known_speeds(tmp_path, [("resnet", 10)], 16, HERE, "cpu") == {}


def test_without_anything_to_go_by_no_time_is_told(tmp_path: Path) -> None:
    plan = plan_study(SPEC, tmp_path / "none")
    assert plan.timing is None
    assert "no earlier run" in plan.unknown
    assert "resnet 10, resnet 18 at 16 px" in plan.unknown
    assert (
        "--calibrate measures it (about 31 s)" in plan.unknown or "--calibrate measures it (about 25 s)" in plan.unknown
    )
    assert not (tmp_path / "none").exists()


def test_a_plan_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = Speed(train_image_s=0.01, scored_image_s=0.002, epoch_s=0.5, trial_s=1.0, source="measured")
    asked: list[TrialConfig] = []

    def pretend(configs, size, machine, say):  # type: ignore[no-untyped-def]
        asked.extend(configs)
        return [speed] * len(configs)

    monkeypatch.setattr(planning, "calibrate", pretend)
    spec = SPEC.model_copy(update={"budget": BudgetSpec(wall_clock="5 s")})
    plan = plan_study(spec, tmp_path, measure=True)
    assert plan.timing is not None
    assert sorted(key.depth for key in asked) == [10, 18]
    images = plan.pictures
    one_s = 1.0 + 3 * (images.train * 0.01 + images.val * 0.002 + 0.5) + images.shifted * 0.002
    assert plan.timing.trials.wall_s == pytest.approx(2 * one_s), "one at a time"
    assert plan.timing.limit is not None
    assert (plan.timing.limit.name, plan.timing.limit.ended) == ("wall_clock", int(5 / one_s))


def test_backbones_pretrained_by_rotation_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = Speed(0.01, 0.002, 0.5, 1.0, "measured")
    monkeypatch.setattr(planning, "calibrate", lambda configs, *rest: [speed] * len(configs))
    trial = SPEC.trial.model_copy(update={"init": "rotation"})
    plan = plan_study(SPEC.model_copy(update={"trial": trial}), tmp_path, measure=True)
    assert plan.timing is not None
    each_s = 4 * plan.pictures.train * SPEC.rotation.epochs * 0.01
    assert plan.timing.pretraining.wall_s == pytest.approx(2 * each_s)
    assert plan.disk_usage.weights_bytes > 4 * 4_900_000 + 4 * 11_000_000


def test_a_machine_without_room_says_so(tmp_path: Path) -> None:
    resources = ResourceSpec(gpus_per_trial=0, cpus_per_trial=10_000)
    plan = plan_study(SPEC.model_copy(update={"resources": resources}), tmp_path, measure=True)
    assert plan.timing is None
    assert "a trial asks for 10000 CPUs" in plan.unknown


def test_what_weighs_most_is_measured() -> None:
    keys = [planning.speed_key(CONFIG.model_copy(update={"depth": depth, "batch_size": batch}), CPU)
            for depth in (10, 18) for batch in (8, 16, 32, 64)]  # fmt: skip
    share = {key: key.depth * 100.0 + key.batch_size for key in keys}
    chosen = planning._to_measure(share)
    assert len(chosen) == planning.MOST_MEASURED
    assert [(key.depth, key.batch_size) for key in chosen[:2]] == [(18, 64), (10, 64)], "each model once"
