"""What a model costs is measured without a trace in anything else."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path

import pytest
import torch
from training_kit import CPU, MAX_AUC, first_images, noisy_halves, numbers, run, short_trial

from study.training import evaluate, trainer
from study.training.checkpoint import best_folder, load_weights
from study.training.evaluate import count_parameters, measure_latency_ms
from study.training.learner import make_learner
from study.training.models.architectures import build_model
from study.training.trainer import train

DATA = noisy_halves(train=32, val=16)
TRIALS = {
    "fp32": {"augmentation": "standard", "head": "mlp", "head_width": 32, "head_dropout": 0.5},
    "bf16": {"precision": "bf16", "channels_last": True, "ema_decay": 0.9, "optimizer": "sgd"},
}


@pytest.mark.parametrize("changed", TRIALS.values(), ids=TRIALS)
def test_all_other_numbers_are_the_same_with_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    config = short_trial(**changed)
    measured = run(config, DATA, tmp_path / "measured")
    monkeypatch.setattr(trainer, "measure_latency_ms", lambda network, images: 1.0)
    plain = run(config, DATA, tmp_path / "plain")
    assert [epoch.values["latency_ms"] for epoch in plain.history] == [1.0, 1.0]
    assert numbers(measured) == numbers(plain)
    assert measured.best_epoch is not None
    ours, theirs = (load_weights(best_folder(tmp_path / name, measured.best_epoch)) for name in ("measured", "plain"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_measurement_changes_neither_random_state_nor_model() -> None:
    network = make_learner(short_trial(head_dropout=0.5), DATA, CPU).network
    before, state = copy.deepcopy(network.model.state_dict()), torch.get_rng_state()
    assert measure_latency_ms(network, first_images(DATA, 4)) > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.model.state_dict().items())


def test_it_is_measured_once_and_kept_over_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([3.5, 7.0])
    monkeypatch.setattr(trainer, "measure_latency_ms", lambda network, images: next(values))
    config = short_trial(max_epochs=3)
    for _ in islice(train(config, DATA, MAX_AUC, tmp_path, device=CPU), 1):
        pass
    done = run(config, DATA, tmp_path)
    assert [epoch.values["latency_ms"] for epoch in done.history] == [3.5] * 3
    assert next(values) == 7.0, "nobody measured again"


def test_the_median_of_single_images_is_reported_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Size] = []

    def fake(network: object, image: torch.Tensor) -> float:
        seen.append(image.shape)
        return [9.0, 9.0, 0.01, 0.02, 0.005, 0.1][len(seen) - 1]

    monkeypatch.setattr(evaluate, "_time_s", fake)
    network = make_learner(short_trial(), DATA, CPU).network
    assert measure_latency_ms(network, first_images(DATA, 4)) == pytest.approx(15.0)
    assert seen == [(1, 3, 32, 32)] * 6


@pytest.mark.parametrize(("each_s", "timed"), [(0.2, 3), (0.012, 5), (0.001, 10)])
def test_no_more_images_are_timed_than_it_takes(monkeypatch: pytest.MonkeyPatch, each_s: float, timed: int) -> None:
    seen: list[float] = []

    def fake(network: object, image: torch.Tensor) -> float:
        seen.append(each_s)
        return each_s

    monkeypatch.setattr(evaluate, "_time_s", fake)
    measure_latency_ms(make_learner(short_trial(), DATA, CPU).network, first_images(DATA, 1))
    assert len(seen) == evaluate.WARM_UP + timed


def test_parameters_are_counted_frozen_ones_too(tmp_path: Path) -> None:
    done = run(short_trial(depth=18, freeze="backbone", max_epochs=1), DATA, tmp_path)
    published, head_before = 11_689_512, 512 * 1000 + 1000  # torchvision's resnet18
    assert done.history[0].values["parameters"] == published - head_before + 512 + 1
    assert count_parameters(build_model(short_trial(), 3)) - count_parameters(build_model(short_trial(), 1)) == 2 * 513
