"""A trial is killed at every change of a file and goes on as if it had not been; its files stay few."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_kit import (
    CPU,
    MAX_AUC,
    SMALL_DATA,
    Killed,
    Killer,
    count_checkpoints,
    count_unfinished,
    short_trial,
    use_small_net,
)

from study.paths import CARD, LAST_CHECKPOINT, SCORES, WEIGHTS
from study.training.checkpoint import best_folder
from study.training.progress import TrainingProgress
from study.training.trainer import train

CASES = {
    "plain": short_trial(max_epochs=3, batch_size=8, learning_rate=0.01),
    "averaged": short_trial(max_epochs=3, batch_size=8, learning_rate=0.01, ema_decay=0.9),
    "frozen": short_trial(max_epochs=3, batch_size=8, learning_rate=0.01, ema_decay=0.9, freeze="backbone"),
    "single": short_trial(max_epochs=1, batch_size=8, learning_rate=0.01),
}


@pytest.fixture(autouse=True)
def small_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_net(monkeypatch)
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    go_on("frozen", tmp_path / "first")  # its features are in the cache now


def go_on(name: str, folder: Path) -> list[TrainingProgress]:
    return list(train(CASES[name], SMALL_DATA, MAX_AUC, folder, device=CPU))


def contents(folder: Path, epoch: int) -> dict[str, bytes]:
    best = best_folder(folder, epoch)
    assert {path.name for path in best.iterdir()} == {WEIGHTS, CARD, SCORES}
    return {name: (best / name).read_bytes() for name in (WEIGHTS, CARD)}


def run_killed(name: str, folder: Path, killer: Killer) -> list[TrainingProgress]:
    """Run until a death; return what had been said before it."""
    said: list[TrainingProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        killer.install(patch)
        try:
            said.extend(train(CASES[name], SMALL_DATA, MAX_AUC, folder, device=CPU))
        except Killed:
            return said
    raise AssertionError("nobody was killed")


def best_epochs(scenario: str) -> Callable[[float, float | None, str], bool]:
    """Choose which epochs are better than those before: every one, or only the first."""
    return {"rising": lambda value, than, mode: True, "falling": lambda value, than, mode: than is None}[scenario]


def count_changes(name: str, scenario: str, folder: Path) -> int:
    killer = Killer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.best_epoch.is_better", best_epochs(scenario))
        killer.install(patch)
        go_on(name, folder)
    return killer.changes


@pytest.mark.parametrize("scenario", ["rising", "falling"])
@pytest.mark.parametrize("name", ["plain", "averaged", "frozen"])
def test_a_kill_at_any_change_costs_at_most_the_epoch_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, scenario: str
) -> None:
    changes = count_changes(name, scenario, tmp_path / "whole")
    monkeypatch.setattr("study.best_epoch.is_better", best_epochs(scenario))
    (*_, whole) = go_on(name, tmp_path / "whole")
    assert whole.best_epoch == (3 if scenario == "rising" else 1)
    expected = contents(tmp_path / "whole", whole.best_epoch)
    assert changes > 40 if scenario == "rising" else changes > 20
    for at in range(1, changes + 1):
        folder = tmp_path / f"{at}"
        killer = Killer(at, after=at % 2 == 0, watch=few(folder))
        said = run_killed(name, folder, killer)
        again = go_on(name, folder)
        if said:
            assert again[0].history[: said[-1].epoch] == said[-1].history, "what was said stays"
        assert again[0].epoch >= max(1, said[-1].epoch if said else 0)
        assert again[-1] == whole, f"{at=}"
        assert contents(folder, whole.best_epoch) == expected, f"{at=}"
        assert count_checkpoints(folder) == 2
        assert count_unfinished(folder) == 0


def test_a_trial_of_one_epoch_writes_its_weights_once_and_starts_again_when_killed(tmp_path: Path) -> None:
    changes = count_changes("single", "rising", tmp_path / "whole")
    (*_, whole) = go_on("single", tmp_path / "whole")
    expected = contents(tmp_path / "whole", 1)
    last = torch.load(tmp_path / "whole" / LAST_CHECKPOINT, weights_only=True)
    assert (last["model"], last["selected"]) == ({}, None)
    for at in range(1, changes + 1):
        folder = tmp_path / f"{at}"
        run_killed("single", folder, Killer(at, after=at % 2 == 0, watch=few(folder)))
        assert go_on("single", folder)[-1] == whole, f"{at=}"
        assert contents(folder, 1) == expected
        assert count_unfinished(folder) == 0


def few(folder: Path) -> Callable[[], None]:
    """Check after every change that two checkpoints at most are there, and one unfinished."""

    def check() -> None:
        assert count_checkpoints(folder) <= 2
        assert count_unfinished(folder) <= 1

    return check


def test_a_second_death_while_going_on_is_survived_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.best_epoch.is_better", best_epochs("rising"))
    (*_, whole) = go_on("plain", tmp_path / "whole")
    expected = contents(tmp_path / "whole", 3)
    for at in range(1, 30):
        folder = tmp_path / f"{at}"
        run_killed("plain", folder, Killer(at=24, watch=few(folder)))
        run_killed("plain", folder, Killer(at, watch=few(folder)))
        assert go_on("plain", folder)[-1] == whole
        assert contents(folder, 3) == expected


def test_the_file_to_go_on_from_is_enough_to_make_the_selected_checkpoint(tmp_path: Path) -> None:
    epochs = train(CASES["averaged"], SMALL_DATA, MAX_AUC, tmp_path, device=CPU)
    assert next(epochs).best_epoch == 1
    epochs.close()
    expected = contents(tmp_path, 1)
    for name in (WEIGHTS, CARD, SCORES):
        (best_folder(tmp_path, 1) / name).unlink()
    assert next(train(CASES["averaged"], SMALL_DATA, MAX_AUC, tmp_path, device=CPU)).epoch == 1
    assert contents(tmp_path, 1) == expected
