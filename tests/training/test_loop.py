"""One trial from its first step to its selected epoch."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_kit import CPU, MAX_AUC, MIN_LOSS, noisy_halves, numbers, run, short_trial

from study.config.search_config import Objective
from study.errors import NonFiniteLossError
from study.metric_catalog import METRICS, PER_CLASS
from study.records import EpochMetrics
from study.training import checkpoint, metrics
from study.training.checkpoint import best_folder, load_scores, load_weights, read_card
from study.training.dataset import DeviceImages, batch_bounds, epoch_order
from study.training.learner import make_learner, train_epoch
from study.training.losses import STEPS_UNREAD, EpochLoss
from study.training.models.architectures import build_model, to_device
from study.training.models.small_conv import SmallConv2d
from study.training.models.winograd import WinogradConv2d
from study.training.progress import TrainingProgress
from study.training.trainer import train, validation_metrics

DATA = noisy_halves(train=48, val=24)


def test_an_epoch_reports_every_metric_the_study_file_may_name(tmp_path: Path) -> None:
    progress = run(short_trial(max_epochs=1), DATA, tmp_path)
    (epoch,) = progress.history
    per_class = {f"val_{kind}.{name}" for kind in PER_CLASS for name in DATA.classes}
    assert set(epoch.values) == set(METRICS) | per_class
    assert all(np.isfinite(value) for value in epoch.values.values())
    assert epoch.values["images_per_s"] > 0
    assert epoch.values["epoch_s"] > 0
    assert epoch.values["peak_memory_bytes"] > 50 * 2**20
    assert epoch.values["learning_rate"] == 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_are_equal_to_the_last_bit(tmp_path: Path, precision: str) -> None:
    config = short_trial(augmentation="flip+rotate", precision=precision, channels_last=precision == "bf16")
    first, second = run(config, DATA, tmp_path / "1"), run(config, DATA, tmp_path / "2")
    assert numbers(first) == numbers(second)
    assert first.best_epoch is not None
    weights = [load_weights(best_folder(tmp_path / name, first.best_epoch)) for name in "12"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_another_seed_gives_other_numbers(tmp_path: Path) -> None:
    first, second = (run(short_trial(seed=seed, max_epochs=1), DATA, tmp_path / str(seed)) for seed in (1, 2))
    assert numbers(first) != numbers(second)


def test_what_ran_before_in_the_same_process_changes_nothing(tmp_path: Path) -> None:
    trials = [
        short_trial(max_epochs=1, optimizer="sgd", learning_rate=0.05),
        short_trial(max_epochs=1, precision="bf16", channels_last=True, augmentation="flip"),
        short_trial(max_epochs=1, init="xavier", batch_size=16),
    ]
    there = [numbers(run(config, DATA, tmp_path / f"a{at}")) for at, config in enumerate(trials)]
    torch.rand(100)
    back = [numbers(run(config, DATA, tmp_path / f"b{at}")) for at, config in reversed(list(enumerate(trials)))]
    assert there == back[::-1]


@pytest.mark.parametrize(
    "count, size, sizes",
    [(64, 32, [32, 32]), (65, 32, [32, 33]), (66, 32, [32, 32, 2]), (1, 8, [1]), (5, 64, [5]), (9, 8, [9])],
)
def test_a_last_batch_of_one_image_joins_the_one_before(count: int, size: int, sizes: list[int]) -> None:
    bounds = list(batch_bounds(count, size))
    assert [stop - start for start, stop in bounds] == sizes
    assert bounds[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(bounds))


def test_one_image_too_many_trains_on_maps_of_one_pixel(tmp_path: Path) -> None:
    assert run(short_trial(max_epochs=1), noisy_halves(train=33), tmp_path).epoch == 1


def test_every_epoch_has_its_own_order_of_all_images() -> None:
    first, second = epoch_order(50, 3, 1), epoch_order(50, 3, 2)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch_order(50, 3, 1))


def test_a_loss_that_is_not_finite_is_named_before_its_checkpoint_is_written(tmp_path: Path) -> None:
    config = short_trial(learning_rate=1e30, batch_size=8)
    with pytest.raises(
        NonFiniteLossError, match=r"is nan in epoch 1 after [1-9][0-9]* images \(learning_rate 1e\+30\)"
    ):
        run(config, DATA, tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_step_waits_for_its_loss() -> None:
    """Reading a number waits for a GPU; the steps of an epoch are counted on the CPU, where it is the same call."""

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    def reads(batch_size: int) -> int:
        config = short_trial(batch_size=batch_size, augmentation="none")
        learner, images = make_learner(config, DATA, CPU), DeviceImages(DATA.train_images, DATA.train_labels, CPU)
        with Reads() as mode:
            train_epoch(learner, images, epoch_order(48, config.seed, 1), config, 1)
        return mode.count

    assert reads(batch_size=2) == reads(batch_size=24)


def test_an_epochs_loss_is_the_mean_over_images_and_names_the_first_that_is_not_finite() -> None:
    losses = EpochLoss("in epoch 7", "learning_rate", 0.5)
    for step in range(STEPS_UNREAD + 3):
        losses.add(torch.tensor(float(step)), 2 * step, 2 * step + 2)
    losses.add(torch.tensor(100.0), 2 * STEPS_UNREAD + 6, 2 * STEPS_UNREAD + 7)
    twice = sum(range(STEPS_UNREAD + 3)) * 2
    assert losses.mean() == (twice + 100) / (2 * STEPS_UNREAD + 7)
    losses = EpochLoss("in epoch 7", "learning_rate", 0.5)
    for step in range(STEPS_UNREAD - 1):
        losses.add(torch.tensor(math.inf if step > 4 else 1.0), step, step + 1)
    with pytest.raises(NonFiniteLossError, match=r"is inf in epoch 7 after 5 images \(learning_rate 0.5\)"):
        losses.add(torch.tensor(1.0), STEPS_UNREAD, STEPS_UNREAD + 1)


def test_logits_that_are_not_finite_are_no_score() -> None:
    with pytest.raises(NonFiniteLossError, match="validation logits"):
        validation_metrics(np.array([0.0, np.inf]), DATA)


def test_momentum_is_sgds_alone_and_0_9_by_default() -> None:
    trials = (short_trial(optimizer="sgd"), short_trial(optimizer="sgd", momentum=0.0), short_trial(optimizer="adam"))
    groups = [make_learner(trial, DATA, CPU).optimizer.param_groups[0] for trial in trials]
    assert [group.get("momentum") for group in groups] == [0.9, 0, None]


@pytest.mark.parametrize("objective", [MAX_AUC, MIN_LOSS, Objective(metric="train_accuracy", mode="min")])
def test_the_selected_epoch_is_the_first_best_one(tmp_path: Path, objective: Objective) -> None:
    last = run(short_trial(max_epochs=3, learning_rate=0.05), noisy_halves(train=48, contrast=6), tmp_path, objective)
    seen = [epoch.values[objective.metric] for epoch in last.history]
    best = max(seen) if objective.mode == "max" else min(seen)
    assert last.best_value == best
    assert last.best_epoch == seen.index(best) + 1
    assert [path.name for path in tmp_path.glob("epoch-*")] == [f"epoch-{last.best_epoch:04d}"]


def test_the_checkpoint_is_the_selected_epoch_and_nothing_later(tmp_path: Path) -> None:
    config = short_trial(max_epochs=4, learning_rate=0.02, precision="bf16", channels_last=True)
    data = noisy_halves(contrast=15)
    last = run(config, data, tmp_path)
    assert last.best_epoch is not None
    assert last.best_epoch < 4, "take another seed: the last epoch must not be the selected one here"
    folder = best_folder(tmp_path, last.best_epoch)
    card = read_card(folder)
    kept = last.history[last.best_epoch - 1].values
    assert (card.epoch, card.metrics, card.precision, card.depth) == (last.best_epoch, kept, "bf16", 10)
    scores, labels = load_scores(folder)
    assert np.array_equal(labels, data.val_labels)
    assert metrics.roc_auc(scores, labels) == kept["val_auc"]

    model = build_model(short_trial())
    model.load_state_dict(load_weights(folder))
    network = to_device(model.eval(), CPU, card.precision, channels_last=True)
    held = DeviceImages(data.val_images, data.val_labels, CPU)
    images, _ = held.take(torch.arange(len(labels)), channels_last=True)
    with torch.inference_mode():
        again = network.logits(held.normalize(images)).numpy().astype(np.float64)
    assert np.array_equal(metrics.probabilities(again), scores)
    assert metrics.evaluate(again, labels, data.classes)["loss"] == kept["val_loss"]


def test_weights_on_disk_are_plain_float32(tmp_path: Path) -> None:
    run(short_trial(max_epochs=1, precision="bf16", channels_last=True), DATA, tmp_path)
    stored = load_weights(best_folder(tmp_path, 1))
    assert stored.keys() == build_model(short_trial()).state_dict().keys()
    assert all(tensor.is_contiguous() for tensor in stored.values())
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32, torch.int64}


def test_each_precision_on_the_cpu_has_convolutions_of_its_own() -> None:
    def kinds(**changed: Any) -> set[type[nn.Module]]:
        model = make_learner(short_trial(**changed), DATA, CPU).network.model
        return {type(module) for module in model.modules() if isinstance(module, nn.Conv2d)}

    assert kinds(precision="bf16", channels_last=True) == {nn.Conv2d, SmallConv2d}
    assert kinds(precision="fp32", channels_last="auto") == {nn.Conv2d, WinogradConv2d}
    assert kinds(precision="fp32", channels_last=False) == {nn.Conv2d}


def test_bf16_on_the_smallest_images_is_reproducible(tmp_path: Path) -> None:
    config = short_trial(precision="bf16", channels_last=True)
    data = noisy_halves(train=32, val=16, size=16)
    first = run(config, data, tmp_path / "1")
    junk = [torch.full((512, 256, 3, 3), float("nan")) for _ in range(3)]  # what freed memory may hold
    del junk
    assert numbers(run(config, data, tmp_path / "2")) == numbers(first)


def test_files_follow_the_umask(tmp_path: Path) -> None:
    expected = (tmp_path / "plain").touch() or (tmp_path / "plain").stat().st_mode
    run(short_trial(max_epochs=1), DATA, tmp_path / "trial")
    files = [path for path in (tmp_path / "trial").rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {path.stat().st_mode for path in files} == {expected}


def test_a_large_trial_before_does_not_count_in_the_peak_of_a_small_one(tmp_path: Path) -> None:
    def peak(at: int, **changed: int) -> float:
        last = run(short_trial(max_epochs=1, **changed), noisy_halves(train=64, val=8), tmp_path / str(at))
        return last.history[0].values["peak_memory_bytes"]

    peak(0)
    small = peak(1)
    large = peak(2, depth=34, batch_size=64)
    assert large > small + 200e6
    assert peak(3) < small + 100e6


def test_a_trial_can_be_left_after_any_epoch(tmp_path: Path) -> None:
    epochs = train(short_trial(max_epochs=9), DATA, MAX_AUC, tmp_path, device=CPU)
    assert next(epochs).epoch == 1
    epochs.close()  # type: ignore[attr-defined]
    assert (best_folder(tmp_path, 1) / checkpoint.WEIGHTS).is_file()


def test_progress_counts_from_its_history() -> None:
    assert TrainingProgress().epoch == 0
    assert TrainingProgress((EpochMetrics(1, {}), EpochMetrics(2, {}))).epoch == 2
