"""Checkpoints of a trial with frozen weights: those are written once, and every checkpoint is complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from training_kit import CPU, MAX_AUC, SMALL_DATA, numbers, run, short_trial, use_small_net

from study.checkpoint_card import read_card
from study.paths import LAST_CHECKPOINT, WEIGHTS
from study.training import trial_resume
from study.training.checkpoint import best_folder, load_weights
from study.training.frozen import weights as frozen_weights
from study.training.frozen.weights import FrozenWeights, WeightsWriter
from study.training.learner import make_learner
from study.training.models.architectures import build_model
from study.training.trainer import train

CONFIG = short_trial(max_epochs=4, batch_size=8, learning_rate=0.01, freeze="backbone")


@pytest.fixture(autouse=True)
def every_epoch_is_better(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("study.best_epoch.is_better", lambda value, than, mode: True)
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def written_whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every file that was written from its beginning, for weights."""
    names: list[str] = []
    plain = frozen_weights.write_atomic

    def noted(path: Path, write: Callable[..., object]) -> None:
        names.append(path.name)
        plain(path, write)

    monkeypatch.setattr(frozen_weights, "write_atomic", noted)
    return names


def epochs(folder: Path, count: int) -> None:
    for _ in islice(train(CONFIG, SMALL_DATA, MAX_AUC, folder, device=CPU), count):
        pass


@pytest.mark.parametrize("freeze", ["backbone", "stages<=2", "none"])
def test_frozen_weights_are_named_with_their_statistics(freeze: str) -> None:
    model = build_model(short_trial())
    frozen = FrozenWeights.of(model, freeze)
    expected = {
        "none": set(), "backbone": {name for name in model.state_dict() if not name.startswith("fc.")},
        "stages<=2": {name for name in model.state_dict() if name.startswith(("conv1", "bn1", "layer1", "layer2"))},
    }[freeze]  # fmt: skip
    assert frozen.names == expected
    assert frozen.without(model.state_dict()).keys() == model.state_dict().keys() - expected
    assert bool(frozen.digest) is bool(expected)


def test_frozen_weights_are_written_once_a_trial(tmp_path: Path, written_whole: list[str]) -> None:
    progress = run(CONFIG, SMALL_DATA, tmp_path / "trial")
    assert progress.best_epoch == 4
    assert written_whole == [WEIGHTS]
    folder = best_folder(tmp_path / "trial", 4)
    stored = load_weights(folder)
    expected = make_learner(CONFIG, SMALL_DATA, CPU).network.model.state_dict()
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], expected[name]) for name in expected if not name.startswith("fc."))
    assert not torch.equal(stored["fc.weight"], expected["fc.weight"])
    mapped = load_file(folder / WEIGHTS)
    assert all(torch.equal(mapped[name], stored[name]) for name in stored)


@pytest.mark.parametrize("freeze", ["backbone", "stages<=3"])
def test_the_file_to_resume_from_holds_only_what_changes(tmp_path: Path, freeze: str) -> None:
    config = short_trial(max_epochs=2, batch_size=8, optimizer="sgd", momentum=0.0, freeze=freeze)
    training = train(config, SMALL_DATA, MAX_AUC, tmp_path / "trial", device=CPU)
    next(training)
    size = (tmp_path / "trial" / LAST_CHECKPOINT).stat().st_size
    training.close()
    model = build_model(config)
    frozen = FrozenWeights.of(model, freeze)
    changing = sum(tensor.nbytes for tensor in frozen.without(model.state_dict()).values())
    assert changing < size < 1.1 * changing + 20_000


@pytest.mark.parametrize("touch", ["link", "write", "remove"])
def test_a_file_that_others_use_is_written_anew(tmp_path: Path, written_whole: list[str], touch: str) -> None:
    trial, kept = tmp_path / "trial", tmp_path / "kept"
    training = train(CONFIG, SMALL_DATA, MAX_AUC, trial, device=CPU)
    next(training)
    weights = best_folder(trial, 1) / WEIGHTS
    before = weights.read_bytes()
    if touch == "link":
        os.link(weights, kept)
    elif touch == "write":
        with weights.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"?")
    else:
        weights.unlink()
    *_, last = training
    assert written_whole == [WEIGHTS, WEIGHTS]
    assert last.best_epoch == 4
    load_weights(best_folder(trial, 4))
    if touch == "link":
        assert kept.read_bytes() == before


def test_a_resumed_trial_has_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(CONFIG, SMALL_DATA, tmp_path / "whole")
    epochs(tmp_path / "halted", 2)
    again = run(CONFIG, SMALL_DATA, tmp_path / "halted")
    assert numbers(again) == numbers(whole)
    contents = [(best_folder(tmp_path / name, 4) / WEIGHTS).read_bytes() for name in ("whole", "halted")]
    assert contents[0] == contents[1]


def test_other_frozen_weights_start_the_trial_again(tmp_path: Path) -> None:
    config = short_trial(max_epochs=3, batch_size=8, freeze="backbone", init="imagenet")
    first, other = build_model(config).state_dict(), build_model(config).state_dict()

    def begin(weights: dict[str, torch.Tensor], count: int) -> list[int]:
        training = train(config, SMALL_DATA, MAX_AUC, tmp_path / "trial", weights=weights, device=CPU)
        return [progress.epoch for progress in islice(training, count)]

    assert begin(first, 2) == [1, 2]
    assert begin(first, 1) == [2]
    assert begin(other, 1) == [1]


def test_a_trial_of_an_earlier_version_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(CONFIG, SMALL_DATA, tmp_path / "whole")
    with monkeypatch.context() as patch:  # as format 4 was written
        patch.setattr(FrozenWeights, "names", frozenset(), raising=False)
        patch.setattr(FrozenWeights, "digest", "", raising=False)
        patch.setattr(FrozenWeights, "without", lambda frozen, state: dict(state))
        patch.setattr(trial_resume, "FORMAT", 4)
        epochs(tmp_path / "halted", 2)
    path = tmp_path / "halted" / LAST_CHECKPOINT
    assert "conv1.weight" in torch.load(path, weights_only=True)["model"]
    assert numbers(run(CONFIG, SMALL_DATA, tmp_path / "halted")) == numbers(whole)


def test_a_card_names_the_bytes_of_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_net(monkeypatch)
    training = train(CONFIG, SMALL_DATA, MAX_AUC, tmp_path, device=CPU)
    digests = []
    for progress in training:
        assert progress.best_epoch == progress.epoch
        load_weights(best_folder(tmp_path, progress.epoch))
        digests.append(read_card(best_folder(tmp_path, progress.epoch)).weights_sha256)
    assert len(set(digests)) == 4


def test_types_that_cannot_be_aligned_are_written_as_safetensors_does(tmp_path: Path) -> None:
    weights = {"a": torch.zeros(3), "n": torch.tensor(7), "fc": torch.ones(2)}
    final = tmp_path / "a" / WEIGHTS
    WeightsWriter().write(final, weights, frozenset({"a"}), final)
    assert {name: tensor.tolist() for name, tensor in load_file(final).items()} == {
        "a": [0, 0, 0], "n": 7, "fc": [1, 1],
    }  # fmt: skip


def test_without_frozen_weights_the_file_has_the_bytes_that_safetensors_writes(tmp_path: Path) -> None:
    model = build_model(short_trial()).to(memory_format=torch.channels_last)
    final = tmp_path / WEIGHTS
    digest = WeightsWriter().write(final, model.state_dict(), frozenset(), final)
    expected = save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})
    assert final.read_bytes() == expected
    assert digest == hashlib.sha256(expected).hexdigest()
