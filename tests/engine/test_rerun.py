"""A finished trial run again: the same bits, or the reasons why not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import ResourceSpec, SearchSpec
from study.config.search_space import Choice, Parameter
from study.config.study_config import DataSpec, StudySpec
from study.data import DataBundle, load_data
from study.engine import environment
from study.engine import rerun as conditions
from study.engine.environment import describe_environment
from study.engine.ray.trainable import training_data
from study.engine.rerun import require_rerunnable, rerun
from study.engine.rerun_comparison import changed_environment, compared_metrics, find_differences
from study.errors import StudyError, StudyStorageError, WeightsError
from study.paths import StudyLayout
from study.records import EpochMetrics, StopReason, TrialRecord, TrialState
from study.storage.study_storage import StudyStorage
from study.training.checkpoint import CheckpointCard, best_folder
from study.training.trainer import train

DATA = DataSpec(image_size_px=16, count=60)
SPEC = StudySpec(
    name="again",
    data=DATA,
    trial=Hyperparameters(depth=10, max_epochs=2, batch_size=12, head_dropout=0.2, augmentation="flip"),
    space=(Parameter(name="optimizer", domain=Choice(values=("adam", "sgd"))),),
    search=SearchSpec(sampler="random", trials=2, pruner="none"),
    resources=ResourceSpec(gpus_per_trial=0),
)


@dataclass(frozen=True)
class Study:
    """A study of two trials: the first ran to its end, the second was pruned after its first epoch."""

    storage: StudyStorage
    layout: StudyLayout
    data: DataBundle
    complete: TrialRecord
    pruned: TrialRecord


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    layout = StudyLayout(tmp_path_factory.mktemp("again"))
    data = load_data(DATA)
    storage = StudyStorage.create(layout, SPEC, "name: again\n", data=data.summary)
    return Study(storage, layout, data, _run(storage, layout, data, epochs=2), _run(storage, layout, data, epochs=1))


def _run(storage: StudyStorage, layout: StudyLayout, data: DataBundle, *, epochs: int) -> TrialRecord:
    """Train as a worker does, with one thread as a trial has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assignment = storage.ask()
    assert assignment is not None
    directory = layout.trial(assignment.trial)
    for progress in train(
        assignment.config,
        training_data(data, "crop"),
        SPEC.objective,
        directory,
        device=torch.device("cpu"),
        pruned=lambda epoch: epoch >= epochs,
    ):
        assert progress.best_epoch is not None
        storage.report(assignment.trial, progress.history[-1], str(best_folder(directory, progress.best_epoch)))
    storage.note_evaluation(assignment.trial, progress.evaluation)
    assert progress.ended is not None
    torch.set_num_threads(before)
    state = TrialState.COMPLETE if progress.ended is StopReason.FINISHED else TrialState.PRUNED
    return storage.tell(assignment.trial, state, progress.ended)


def test_a_trial_comes_out_the_same_to_the_last_bit(study: Study) -> None:
    heard: list[tuple[int, int]] = []
    files = _files(study.layout.root)
    torch.set_num_threads(2)

    def hear(epoch: EpochMetrics) -> None:
        heard.append((epoch.epoch, torch.get_num_threads()))

    again = rerun(study.storage, study.layout, study.complete, study.data, on_epoch=hear)
    assert again.same
    assert again.same_weights
    assert heard == [(1, 1), (2, 1)], "every epoch, with a trial's threads"
    assert again.metrics >= 15
    assert torch.get_num_threads() == 2, "what was set before is set again"
    assert _files(study.layout.root) == files, "the study's folder is as it was"


def test_a_pruned_trial_ends_at_the_same_epoch(study: Study) -> None:
    assert study.pruned.state is TrialState.PRUNED
    again = rerun(study.storage, study.layout, study.pruned, study.data)
    assert again.same
    assert again.epochs_now == 1


def test_the_last_bit_of_one_metric_is_noticed(study: Study) -> None:
    first, last = study.complete.history
    values = {**last.values, "val_loss": math.nextafter(last.values["val_loss"], 1e9)}
    record = replace(study.complete, history=(first, EpochMetrics(2, values)))
    again = rerun(study.storage, study.layout, record, study.data)
    assert not again.same
    (difference,) = again.differences
    assert (difference.metric, difference.epoch) == ("val_loss", 2)
    assert 0 < difference.largest < 1e-9


def test_the_selected_checkpoint_can_be_had_again(study: Study, tmp_path: Path) -> None:
    again = rerun(study.storage, study.layout, study.complete, study.data, save=tmp_path / "saved")
    assert again.saved == tmp_path / "saved"
    assert study.complete.checkpoint is not None
    then, now = Path(study.complete.checkpoint), tmp_path / "saved"
    assert (now / "model.safetensors").read_bytes() == (then / "model.safetensors").read_bytes()
    with pytest.raises(StudyError, match="new or empty folder"):
        rerun(study.storage, study.layout, study.complete, study.data, save=tmp_path / "saved")


def test_changed_data_is_refused(study: Study) -> None:
    summary = replace(study.data.summary, fingerprint="0" * 64)
    with pytest.raises(StudyStorageError, match="the data is now 000000000000"):
        rerun(study.storage, study.layout, study.complete, replace(study.data, summary=summary))


def test_weights_that_are_gone_are_named(study: Study) -> None:
    config = {**study.complete.config, "init": "rotation"}
    with pytest.raises(WeightsError, match=r"init rotation for resnet 10 are gone from .*pretrained"):
        rerun(study.storage, study.layout, replace(study.complete, config=config), study.data)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": TrialState.FAILED, "error": "NonFiniteLossError: the loss"}, "failed: NonFiniteLossError: the loss"),
        ({"state": TrialState.RUNNING}, "is RUNNING"),
        ({"history": ()}, "ended before its first"),
    ],
)
def test_what_has_nothing_to_compare_is_refused(study: Study, changed: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        require_rerunnable(replace(study.complete, **changed), study.layout)  # type: ignore[arg-type]


def _record(*epochs: Mapping[str, float], **metrics: float) -> TrialRecord:
    history = tuple(EpochMetrics(at, values) for at, values in enumerate(epochs, start=1))
    return TrialRecord("s", 0, TrialState.COMPLETE, {}, {}, metrics=metrics, history=history)


def test_times_and_sizes_are_not_compared() -> None:
    values = {
        "val_auc": 0.5,
        "epoch_s": 1.0,
        "images_per_s": 9.0,
        "peak_memory_bytes": 3.0,
        "latency_ms": 2.0,
        "parameters": 7.0,
    }
    assert compared_metrics(_record(values).history) == ["val_auc", "parameters"]


def test_differences_name_the_first_epoch_and_the_largest_gap() -> None:
    record = _record({"val_loss": 0.5, "val_auc": 0.1}, {"val_loss": 0.4, "val_auc": 0.2}, {"val_loss": 0.3})
    again = _record({"val_loss": 0.5, "val_auc": 0.1}, {"val_loss": 0.4000001, "val_auc": 0.2}, {"val_loss": 0.5})
    (difference,) = find_differences(record, again.history, {})
    assert (difference.metric, difference.epoch, difference.then, difference.now) == ("val_loss", 2, 0.4, 0.4000001)
    assert difference.largest == pytest.approx(0.2)


def test_a_missing_epoch_and_a_missing_set_are_differences() -> None:
    record = _record({"val_loss": 0.5}, {"val_loss": 0.4}, **{"val_loss": 0.4, "shifted.dark.auc": 0.9})
    differences = find_differences(record, (EpochMetrics(1, {"val_loss": 0.5}),), {})
    assert [(difference.metric, difference.epoch, difference.now) for difference in differences] == [
        ("val_loss", 2, None),
        ("shifted.dark.auc", None, None),
    ]


def test_conditions_that_differ_are_said() -> None:
    then = {"cpu": "A", "torch": "2.9", "commit": "abc with changes"}
    assert changed_environment({}, then) == []
    assert changed_environment(then, {**then, "cpu": "B"}) == [
        "CPU: A then, B now", "the code has changes that are in no commit, then and now: they may not be the same",
    ]  # fmt: skip


def test_the_environment_is_told_without_loading_torch_or_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    described = describe_environment()
    assert described["torch"] == torch.__version__.split("+")[0]
    assert described["ATEN_CPU_CAPABILITY"] == "default"
    assert {"cpu", "machine", "cores", "python"} <= set(described)
    assert all(isinstance(value, str) and value for value in described.values())


def test_a_package_that_is_no_checkout_has_no_commit(tmp_path: Path) -> None:
    assert environment._commit(tmp_path) == ""


def test_precision_is_spelled_out_only_where_this_machine_would_choose_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.training.device.has_fast_bf16", lambda device: False)
    config = TrialConfig(seed=0, point=0)
    cpu = torch.device("cpu")
    card = CheckpointCard(18, ("a", "b"), {}, 1, {}, {}, "f", "bf16")
    pinned = conditions.matching_environment(config, card, {}, cpu)
    assert (pinned.precision, pinned.channels_last) == ("bf16", True)
    assert conditions.matching_environment(config, replace(card, precision="fp32"), {}, cpu) == config
    explicit = config.model_copy(update={"precision": "fp32"})
    assert (
        conditions.matching_environment(explicit, card, {"instructions": "avx2 avx512_bf16"}, cpu).channels_last is True
    )
    assert conditions.matching_environment(explicit, card, {}, cpu) == explicit


def test_a_gpu_is_a_reason_of_its_own() -> None:
    assert conditions.device_reasons(False, torch.device("cpu")) == []
    (reason,) = conditions.device_reasons(True, torch.device("cpu"))
    assert "GPU" in reason
    assert "ran on the CPU" in reason


def _files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_images_have_ids_by_name_and_groups_by_the_pattern_of_the_study() -> None:
    data = load_data(DATA)
    made = training_data(data, "crop", r"(\d)\D*$")
    assert made.val_ids is not None
    assert made.val_groups is not None
    assert len(set(made.val_ids.tolist())) == len(data.val)
    keys = [re.search(r"(\d)\D*$", name)[1] for name in data.val.names]  # type: ignore[index]
    pairs = set(zip(keys, made.val_groups.tolist(), strict=True))
    assert len(pairs) == len(set(keys)) > 1
    assert training_data(data, "crop").val_groups is None
