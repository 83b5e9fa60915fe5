"""A trial that was interrupted ends as if it had not been."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from training_kit import CPU, MAX_AUC, MIN_LOSS, noisy_halves, numbers, run, short_trial, use_small_net

from study.config.hyperparameters import TrialConfig
from study.paths import LAST_CHECKPOINT, SCORES, WEIGHTS
from study.training import trainer
from study.training.checkpoint import best_folder, load_weights
from study.training.learner import make_learner
from study.training.models.architectures import build_model
from study.training.progress import TrainingProgress
from study.training.trainer import train
from study.training.trial_resume import TrialCheckpoints, training_identity

DATA = noisy_halves(train=32, val=24, contrast=6)
TRIALS = {
    "adam": short_trial(max_epochs=3, optimizer="adam", learning_rate=0.01, augmentation="standard"),
    "sgd": short_trial(max_epochs=3, optimizer="sgd", learning_rate=0.05, precision="bf16", channels_last=True),
    "frozen": short_trial(max_epochs=3, learning_rate=0.05, freeze="backbone", ema_decay=0.9),
    "stages": short_trial(max_epochs=3, learning_rate=0.01, freeze="stages<=2", augmentation="standard"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TrainingProgress, Path]]:
    """Every trial without an interruption."""
    folders = {name: tmp_path_factory.mktemp(name) for name in TRIALS}
    return {name: (run(config, DATA, folders[name]), folders[name]) for name, config in TRIALS.items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[TrainingProgress, Path]]:
    """The trial ``adam`` of a small net: its folder after two of three epochs, and all of it uninterrupted."""
    halted, whole = tmp_path_factory.mktemp("halted"), tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        use_small_net(patch)
        interrupted(TRIALS["adam"], halted, 2)
        return halted, (run(TRIALS["adam"], DATA, whole), whole)


def interrupted(config: TrialConfig, folder: Path, after: int) -> None:
    for _ in islice(train(config, DATA, MAX_AUC, folder, device=CPU), after):
        pass


def assert_same(progress: TrainingProgress, folder: Path, expected: tuple[TrainingProgress, Path]) -> None:
    assert numbers(progress) == numbers(expected[0])
    assert (progress.best_epoch, progress.best_value) == (expected[0].best_epoch, expected[0].best_value)
    assert progress.best_epoch is not None
    ours, theirs = (load_weights(best_folder(where, progress.best_epoch)) for where in (folder, expected[1]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert [path.name for path in folder.glob("*epoch-*")] == [f"epoch-{progress.best_epoch:04d}"]


@pytest.mark.parametrize("name", list(TRIALS))
@pytest.mark.parametrize("after", [1, 2])
def test_going_on_after_an_epoch_changes_nothing(
    tmp_path: Path, whole: dict[str, tuple[TrainingProgress, Path]], name: str, after: int
) -> None:
    interrupted(TRIALS[name], tmp_path, after)
    progresses = list(train(TRIALS[name], DATA, MAX_AUC, tmp_path, device=CPU))
    assert [progress.epoch for progress in progresses] == list(range(after, 4))
    assert_same(progresses[-1], tmp_path, whole[name])


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"cut": content[:middle], "empty": b"", "replaced": b"no checkpoint", "flipped": flipped}[kind])


def leave_debris(folder: Path) -> None:
    (folder / ".epoch-0002.part").mkdir()
    (folder / ".epoch-0002.part" / "model.safetensors").write_bytes(b"half")
    (folder / f".{LAST_CHECKPOINT}.0123.part").write_bytes(b"half")


def best_of(folder: Path) -> Path:
    return next(folder.glob("epoch-*"))


ACCIDENTS: dict[str, Callable[[Path], object]] = {
    "no last": lambda folder: (folder / LAST_CHECKPOINT).unlink(),
    **{f"last {kind}": lambda folder, kind=kind: damage(folder / LAST_CHECKPOINT, kind)
       for kind in ("cut", "empty", "replaced", "flipped")},
    "last of format 1": lambda folder: torch.save({"format": 1}, folder / LAST_CHECKPOINT),
    "no best": lambda folder: shutil.rmtree(best_of(folder)),
    "weights flipped": lambda folder: damage(best_of(folder) / WEIGHTS, "flipped"),
    "scores flipped": lambda folder: damage(best_of(folder) / SCORES, "flipped"),
    "debris": leave_debris,
}  # fmt: skip


@pytest.mark.parametrize("accident", ACCIDENTS.values(), ids=ACCIDENTS)
def test_a_damaged_disk_costs_time_but_no_result(
    tmp_path: Path,
    small: tuple[Path, tuple[TrainingProgress, Path]],
    accident: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    halted, whole = small
    shutil.copytree(halted, tmp_path, dirs_exist_ok=True)
    accident(tmp_path)
    use_small_net(monkeypatch)
    assert_same(run(TRIALS["adam"], DATA, tmp_path), tmp_path, whole)
    assert not list(tmp_path.glob(".*"))


def test_a_finished_trial_is_replayed_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = short_trial(max_epochs=1)
    done = run(config, DATA, tmp_path)

    def build(*_: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(trainer, "make_learner", build)
    (again,) = train(config, DATA, MAX_AUC, tmp_path, device=CPU)
    assert again == done


def test_only_an_epoch_that_something_follows_keeps_the_optimizer(tmp_path: Path) -> None:
    sizes = [
        (tmp_path / LAST_CHECKPOINT).stat().st_size
        for _ in train(short_trial(max_epochs=2), DATA, MAX_AUC, tmp_path, device=CPU)
    ]
    weights = sum(tensor.numel() * 4 for tensor in build_model(short_trial()).state_dict().values())
    assert 3 * weights < sizes[0] < 3.1 * weights  # Adam keeps two numbers beside each weight
    assert sizes[1] < (1.1 * weights if best_folder(tmp_path, 2).exists() else 20_000)


def test_any_flipped_byte_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_net(monkeypatch)
    config = short_trial(max_epochs=2)
    interrupted(config, tmp_path, 1)
    checkpoints = TrialCheckpoints(tmp_path, training_identity(config, MAX_AUC, DATA.fingerprint))

    def epoch_read() -> int:
        return checkpoints.read_last(lambda: make_learner(config, DATA, CPU)).progress.epoch

    assert epoch_read() == 1
    path = tmp_path / LAST_CHECKPOINT
    written = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(written), 300):
        damaged = bytearray(written)
        damaged[at] ^= 1 << int(at) % 8
        path.write_bytes(damaged)
        assert epoch_read() == 0, f"{at=}"
        assert not list(tmp_path.glob("epoch-*")), "nothing of a trial that starts again is left to be taken for it"


def test_another_configuration_objective_or_data_starts_again(tmp_path: Path) -> None:
    config = short_trial(max_epochs=1)
    run(config, DATA, tmp_path)
    assert [progress.epoch for progress in train(config, DATA, MIN_LOSS, tmp_path, device=CPU)] == [1]
    other = short_trial(max_epochs=1, learning_rate=0.002)
    first = next(train(other, DATA, MIN_LOSS, tmp_path, device=CPU))
    assert first.history[0].values["learning_rate"] == 0.002


def test_ids_and_groups_of_the_validation_images_are_stored_and_survive(tmp_path: Path) -> None:
    plain = noisy_halves()
    ids = np.arange(len(plain.val_labels)) * 7
    data = replace(plain, val_ids=ids, val_groups=ids % 3)
    whole, again = tmp_path / "whole", tmp_path / "again"
    run(short_trial(max_epochs=2), data, whole)
    begun = train(short_trial(max_epochs=2), data, MAX_AUC, again, device=CPU)
    next(begun)
    begun.close()
    shutil.rmtree(best_of(again))
    run(short_trial(max_epochs=2), data, again)
    for folder in (whole, again):
        with np.load(best_of(folder) / SCORES) as stored:
            assert np.array_equal(stored["ids"], ids)
            assert np.array_equal(stored["groups"], ids % 3)
    run(short_trial(max_epochs=1), plain, tmp_path / "plain")
    with np.load(best_of(tmp_path / "plain") / SCORES) as stored:
        assert set(stored.files) == {"scores", "labels"}
