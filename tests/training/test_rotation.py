"""A backbone that learns which way up images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_kit import CPU, MAX_AUC, short_trial

from study.config.study_config import RotationSpec
from study.training import rotation_pretraining as rotation
from study.training.checkpoint import best_folder, load_weights
from study.training.learner import make_learner
from study.training.models.architectures import build_model
from study.training.rotation_pretraining import PretrainedBackbone, pretrain, rotate_four_ways
from study.training.trainer import train
from study.training.training_data import TrainingData

SETTINGS = RotationSpec(epochs=3, batch_size=8, learning_rate=1e-3)
ONE_EPOCH = RotationSpec(epochs=1, batch_size=16, augmentation="flip")


def bright_top(count: int, seed: int, size: int = 16) -> np.ndarray:
    """Noise whose upper half is brighter."""
    images = np.random.default_rng(seed).integers(0, 160, (count, size, size, 3))
    images[:, : size // 2] += 90
    return images.astype(np.uint8)


def pretrained(seed: int = 0, **changed: Any) -> PretrainedBackbone:
    settings = changed.pop("settings", SETTINGS)
    return pretrain(short_trial(**changed), settings, bright_top(32, 1), bright_top(16, 2), seed=seed, device=CPU)


@pytest.fixture(scope="module")
def backbone() -> PretrainedBackbone:
    return pretrained()


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_image_comes_in_all_four_directions(channels_last: bool) -> None:
    images = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    given = torch.from_numpy(images)
    if channels_last:
        given = given.contiguous(memory_format=torch.channels_last)
    copies, turns = rotate_four_ways(given)
    assert copies.shape == (8, 3, 4, 4)
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for copy, turn, at in zip(copies.numpy(), turns.tolist(), [0, 1] * 4, strict=True):
        assert np.array_equal(copy, np.rot90(images[at], turn, (1, 2)))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert copies.is_contiguous(memory_format=layout)


def test_it_learns_which_way_up_images_are(backbone: PretrainedBackbone) -> None:
    assert backbone.accuracy > 0.6
    assert backbone.seconds > 0


def test_images_without_an_up_teach_nothing() -> None:
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    result = pretrain(short_trial(), SETTINGS, noise[:16], noise[16:], seed=0, device=CPU)
    assert result.accuracy == pytest.approx(0.25, abs=0.15)


def test_its_accuracy_is_that_of_all_turned_validation_images(
    backbone: PretrainedBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    to_device = rotation.to_device
    monkeypatch.setattr(
        rotation, "to_device", lambda *given, **rest: kept.append(to_device(*given, **rest)) or kept[-1]
    )
    again = pretrained()
    model = kept[0].model
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    right = 0
    for turn in range(4):
        images = np.rot90(bright_top(16, 2), turn, (1, 2))
        pixels = ((images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2).copy()
        with torch.inference_mode():
            right += int((model(torch.from_numpy(pixels)).argmax(1) == turn).sum())
    assert again.accuracy == right / 64 == backbone.accuracy
    assert again.weights.keys() == backbone.weights.keys()
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in backbone.weights.items())


def test_the_head_and_dropout_of_trials_play_no_part() -> None:
    expected = pretrained(settings=ONE_EPOCH)
    torch.rand(3)
    other = pretrained(
        settings=ONE_EPOCH, head="mlp", head_width=8, head_dropout=0.5, optimizer="sgd", learning_rate=9.0
    )
    assert all(torch.equal(other.weights[name], tensor) for name, tensor in expected.weights.items())


def test_another_seed_gives_other_weights() -> None:
    first, other = (pretrained(seed, settings=ONE_EPOCH).weights["conv1.weight"] for seed in (0, 1))
    assert not torch.equal(first, other)


def test_a_trial_begins_with_all_of_it_but_the_head(backbone: PretrainedBackbone, tmp_path: Path) -> None:
    names = set(build_model(short_trial()).state_dict())
    assert set(backbone.weights) == {name for name in names if not name.startswith("fc.")}
    rng = np.random.default_rng(5)
    labels = np.arange(16) % 2
    pixels = rng.integers(0, 256, (16, 16, 16, 3)).astype(np.uint8)
    data = TrainingData(pixels, labels, pixels[:8], labels[:8], classes=("a", "b"), fingerprint="d" * 64)
    config = short_trial(init="rotation", max_epochs=1, batch_size=8, freeze="backbone")
    fresh = make_learner(config, data, CPU, backbone.weights).network.model.state_dict()
    plain = make_learner(short_trial(), data, CPU).network.model.state_dict()
    assert all(torch.equal(fresh[name], tensor) for name, tensor in backbone.weights.items())
    assert fresh["fc.weight"].shape == plain["fc.weight"].shape
    *_, last = train(config, data, MAX_AUC, tmp_path, weights=backbone.weights, device=CPU)
    stored = load_weights(best_folder(tmp_path, last.best_epoch))
    assert all(torch.equal(stored[name], tensor) for name, tensor in backbone.weights.items())


def test_labels_are_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets of any value, those of the labels' place included, leave the weights as they are."""
    expected = pretrained(settings=ONE_EPOCH)
    take = rotation.DeviceImages.take

    def poisoned(self: Any, index: torch.Tensor, *, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
        images, targets = take(self, index, channels_last=channels_last)
        return images, torch.full_like(targets, float("nan"))

    monkeypatch.setattr(rotation.DeviceImages, "take", poisoned)
    result = pretrained(settings=ONE_EPOCH)
    assert result.accuracy == expected.accuracy
    assert all(torch.equal(result.weights[name], tensor) for name, tensor in expected.weights.items())
