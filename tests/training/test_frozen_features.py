"""Features of frozen layers: computed once, shared, and the numbers of a trial that recomputes them each epoch."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from training_kit import noisy_halves, numbers, run, short_trial, three_stripes

from study.training import trainer
from study.training.frozen import features as frozen_features
from study.training.models.architectures import Network
from study.training.training_data import LabelledImages, TrainingData

DATA = noisy_halves(train=48, val=24)
SHIFTED = LabelledImages(DATA.val_images[:10] // 2, DATA.val_labels[:10])


def frozen(**changed: Any) -> Any:
    return short_trial(**{"freeze": "backbone", "max_epochs": 4, "learning_rate": 0.01, **changed})


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / frozen_features.FOLDER


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every batch that went through a backbone to get its features."""
    batches: list[int] = []
    plain = Network.features

    def counted(network: Network, images: torch.Tensor) -> torch.Tensor:
        batches.append(len(images))
        return plain(network, images)

    monkeypatch.setattr(Network, "features", counted)
    return batches


def recomputed(config: Any, data: TrainingData, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the numbers of a trial whose images all pass the backbone in every epoch."""
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "has_fixed_features", lambda config: False)
        return numbers(run(config, data, folder))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"head": "mlp", "head_width": 16, "head_dropout": 0.5, "optimizer": "adam"},
        {"ema_decay": 0.9, "sampling": "balanced"},
        {"precision": "bf16", "channels_last": True},
        {"family": "resnet_v2", "depth": 50},
        {"freeze": "stages<=3"},
        {"freeze": "stages<=2", "ema_decay": 0.9, "channels_last": True, "optimizer": "sgd", "learning_rate": 1e-3},
        {"freeze": "stages<=3", "precision": "bf16", "channels_last": True},
        {"freeze": "stages<=3", "family": "resnet_v2", "depth": 50},
    ],
    ids=["linear", "mlp", "average", "bf16", "v2", "stages", "stages-average", "stages-bf16", "stages-v2"],
)
def test_the_numbers_are_those_without_stored_features(
    changed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = frozen(max_epochs=2, **changed)  # the second goes by what the first stored
    expected = recomputed(config, DATA, tmp_path / "plain", monkeypatch)
    tolerance = 2e-2 if config.precision == "bf16" else 1e-4
    for epoch, plain in zip(numbers(run(config, DATA, tmp_path / "stored")), expected, strict=True):
        assert epoch == pytest.approx(plain, abs=tolerance)


def test_every_image_passes_the_backbone_once_for_all_epochs_and_trials(tmp_path: Path, computed: list[int]) -> None:
    data = TrainingData(**{**vars(DATA), "shifted": {"dark": SHIFTED}})
    first = run(frozen(init="kaiming"), data, tmp_path / "a")
    assert sorted(computed) == [10, 24, 48]
    again = run(frozen(init="kaiming"), data, tmp_path / "b")
    assert sorted(computed) == [10, 24, 48]
    assert numbers(again) == numbers(first), "to the last bit"
    assert again.evaluation == first.evaluation
    run(frozen(init="kaiming", learning_rate=0.1, optimizer="adam", batch_size=16), data, tmp_path / "c")
    assert sorted(computed) == [10, 24, 48], "the same backbone"
    run(frozen(init="kaiming", normalization="half"), data, tmp_path / "d")
    assert len(computed) == 6, "other inputs"
    run(frozen(init="kaiming", seed=4), data, tmp_path / "e")
    assert len(computed) == 9, "other weights"


def test_more_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = frozen(batch_size=12)
    expected = recomputed(config, three_stripes(), tmp_path / "plain", monkeypatch)
    for epoch, plain in zip(numbers(run(config, three_stripes(), tmp_path / "stored")), expected, strict=True):
        assert epoch == pytest.approx(plain, abs=1e-4)


def test_maps_of_frozen_stages_are_computed_once_for_all_epochs_and_trials(
    tmp_path: Path, computed: list[int], empty_cache: Path
) -> None:
    first = run(frozen(freeze="stages<=3"), DATA, tmp_path / "a")
    again = run(frozen(freeze="stages<=3"), DATA, tmp_path / "b")
    assert numbers(again) == numbers(first), "to the last bit"
    assert sorted(computed) == [1, 1, 24, 48], "one image of each trial tells how large its maps are"
    maps = {tuple(frozen_features.load_file(file)["features"].shape) for file in empty_cache.glob("*.safetensors")}
    assert maps == {(48, 2, 2, 256), (24, 2, 2, 256)}
    run(frozen(freeze="stages<=2"), DATA, tmp_path / "c")
    assert sorted(computed) == [1, 1, 1, 24, 24, 48, 48]


def test_maps_that_would_be_too_large_are_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int], empty_cache: Path
) -> None:
    of_an_image = 2 * 2 * 256 * 4
    for most, stored in ((72 * of_an_image, True), (72 * of_an_image - 1, False)):
        monkeypatch.setattr(frozen_features, "MOST_MAP_BYTES", most)
        monkeypatch.setenv("STUDY_CACHE", str(tmp_path / str(most)))
        run(frozen(freeze="stages<=3", max_epochs=1), DATA, tmp_path / f"trial-{most}")
        assert (tmp_path / str(most) / frozen_features.FOLDER).exists() is stored


@pytest.mark.parametrize("changed", [{"freeze": "stages<=1"}, {"augmentation": "flip"}, {"freeze": "none"}])
def test_what_changes_from_epoch_to_epoch_is_not_stored(
    changed: dict[str, Any], tmp_path: Path, computed: list[int], empty_cache: Path
) -> None:
    run(frozen(max_epochs=1, **changed), DATA, tmp_path / "a")
    assert not computed
    assert not empty_cache.exists()


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0{", "cut", "fewer"])
def test_damaged_features_are_computed_again(
    damage: bytes | str, tmp_path: Path, computed: list[int], empty_cache: Path
) -> None:
    first = run(frozen(max_epochs=1), DATA, tmp_path / "a")
    for stored in empty_cache.glob("*.safetensors"):
        if damage == "fewer":
            stored.write_bytes(frozen_features.save({"features": torch.zeros(3, 512)}))
        else:
            stored.write_bytes(stored.read_bytes()[:-100] if isinstance(damage, str) else damage)
    again = run(frozen(max_epochs=1), DATA, tmp_path / "b")
    assert sorted(computed) == [24, 24, 48, 48]
    assert numbers(again) == numbers(first)


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    (tmp_path / "file").write_text("")
    first = run(frozen(), DATA, tmp_path / "a")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file"))
    again = run(frozen(), DATA, tmp_path / "b")
    assert numbers(again) == numbers(first)
    assert sorted(computed) == [24, 24, 48, 48]


def test_features_that_nobody_used_for_a_week_are_removed(tmp_path: Path, empty_cache: Path) -> None:
    run(frozen(), DATA, tmp_path / "a")
    first, second = sorted(empty_cache.glob("*.safetensors"))
    long_ago = time.time() - frozen_features.UNUSED_AFTER_S - 10
    os.utime(first, (long_ago, long_ago))
    run(frozen(seed=5), DATA, tmp_path / "b")
    assert not first.exists()
    assert second.exists()
    assert len(list(empty_cache.glob("*.safetensors"))) == 3


def test_a_trial_that_waits_for_another_takes_its_features(empty_cache: Path) -> None:
    computed = []

    def compute() -> torch.Tensor:
        computed.append(1)
        time.sleep(0.3)
        return torch.ones(3, 2)

    def ask() -> torch.Tensor:
        return frozen_features._computed_once(empty_cache / "x.safetensors", 3, compute)

    with ThreadPoolExecutor(2) as pool:  # each opens the lock for itself, as processes do
        both = [pool.submit(ask) for _ in range(2)]
    assert all(torch.equal(features.result(), torch.ones(3, 2)) for features in both)
    assert len(computed) == 1
