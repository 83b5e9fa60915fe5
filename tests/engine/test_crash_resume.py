"""Kill real drivers and workers of real studies; count what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import study_stdout
from crash_checks import Ended, check
from crash_kit import Blow, Driver, Tally, strike, torment, workers

from study.paths import Layout, StudyLayout
from study.records import StopReason, TrialRecord, TrialState
from study.storage.study_storage import StudyStorage
from study.training.checkpoint import best_folder

STUDY = """\
name: crash
data: {source: faces, image_size_px: 32, count: 60}
trial: {depth: 10, max_epochs: 3, batch_size: 16}
space: {optimizer: {choice: [sgd, adam]}, learning_rate: {loguniform: [1e-3, 1e-2]}}
search: {sampler: tpe, trials: 4, pruner: asha, seed: 1}
resources: {gpus_per_trial: 0, max_concurrent_trials: 1}
"""
FAULTY = """\
name: faulty
data: {source: faces, image_size_px: 24, count: 60}
trial: {depth: 10, max_epochs: 12, batch_size: 8, optimizer: sgd}
space: {learning_rate: {choice: [0.001, 1.0e+30]}}
search: {sampler: random, trials: 4, seed: 0, pruner: none}
resources: {gpus_per_trial: 0, max_concurrent_trials: 1}
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Give a way to start drivers on one results folder; whatever is left of them is removed at the end."""
    drivers: list[Driver] = []

    def start(*arguments: object) -> Driver:
        drivers.append(Driver(tmp_path, *map(str, arguments)))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.remove_orphans()


def write(folder: Path, text: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(text)
    return file


def epochs(layout: StudyLayout) -> int:
    """Count the epochs in the storage, without disturbing anybody."""
    return layout.journal.read_text().count('{"epoch:') if layout.journal.exists() else 0


def check_files(layout: StudyLayout, records: list[TrialRecord]) -> None:
    for record in records:
        left = {path.name for path in layout.trial(record.trial).iterdir()}
        assert record.epoch is not None
        folder = best_folder(layout.trial(record.trial), record.epoch)
        assert left == {folder.name, "shifted.npz", "pictures.html"}
        assert record.checkpoint == str(folder.absolute())
        assert {path.name for path in folder.iterdir()} == {"model.safetensors", "checkpoint.json", "validation.npz"}


# Before there is a trial; at the second write of a checkpoint; inside one, with the worker.
BLOWS = (Blow("driver", at_s=2.0), Blow("write", writes=1), Blow("all", writes=0))


def test_a_study_survives_three_kills_and_a_ctrl_c(
    tmp_path: Path, launch: Callable[..., Driver], shared_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calm").mkdir()
    study_stdout("run", write(tmp_path / "calm", STUDY), "--results", tmp_path / "calm")
    undisturbed = Ended.read(tmp_path / "calm", "crash").records
    monkeypatch.delenv("RAY_ADDRESS")  # each driver starts a cluster of its own, and takes it with it
    monkeypatch.setenv("RAY_preload_python_modules", "")  # of its two workers one is used
    monkeypatch.delenv("STUDY_FORKED_WORKERS")  # no server and no worker of it may be left when a driver is killed

    layout, tally, drivers = Layout(tmp_path).study("crash"), Tally(), []
    for blow in BLOWS:
        drivers.append(launch("resume", "crash") if layout.journal.exists() else launch("run", write(tmp_path, STUDY)))
        assert strike(drivers[-1], layout, blow, tally), f"{blow} came too late"
    interrupted, before = launch("resume", "crash"), epochs(layout)
    interrupted.wait_until(lambda: epochs(layout) > before)
    code, output = interrupted.interrupt()
    assert code == 130, output
    assert "study resume crash" in output

    drivers += torment(tmp_path / "study.yaml", tmp_path, "crash", lambda: None, tally)
    end = Ended.read(tmp_path, "crash", drivers)
    check(end, tally, undisturbed)
    assert not tally.failures
    assert tally.kills.total() == len(BLOWS)
    assert max(record.attempts for record in end.records) >= 3
    check_files(layout, [record for record in end.records if record.kept])


def test_a_dead_worker_is_replaced_and_a_bug_is_not_tried_again(
    tmp_path: Path, launch: Callable[..., Driver], shared_cluster: None
) -> None:
    layout = Layout(tmp_path).study("faulty")
    driver = launch("run", write(tmp_path, FAULTY))
    victims: list[tuple[int, Path]] = []

    def found_one() -> bool:
        if epochs(layout):
            held = workers(layout)
            victims.extend(worker for worker in held if (worker[1] / "last.pt").exists())
        return bool(victims)

    driver.wait_until(found_one)
    pid, folder = victims[0]
    os.kill(pid, signal.SIGKILL)
    code, output = driver.end()
    assert code == 0, output
    records = StudyStorage.open(layout).records()
    bad = [trial for trial in records if trial.params["learning_rate"] > 1]
    assert 0 < len(bad) < 4
    for record in bad:
        assert (record.state, record.stop_reason, record.attempts) == (TrialState.FAILED, StopReason.ERROR, 1)
        assert record.error is not None
        assert "NonFiniteLossError" in record.error
        assert "Traceback" in layout.trial_error(record.trial).read_text()
    good = [trial for trial in records if trial not in bad]
    for record in good:
        assert record.state is TrialState.COMPLETE
        assert [epoch.epoch for epoch in record.history] == list(range(1, 13))
        assert record.attempts == (2 if record.trial == int(folder.name) else 1)
    check_files(layout, [trial for trial in good if trial.kept])
    runs = {run.tags.get("study.trial", "parent"): run.status for run in Ended.read(tmp_path, "faulty").runs}
    assert runs == {str(trial.trial): "FAILED" if trial in bad else "FINISHED" for trial in records} | {
        "parent": "FINISHED"
    }


def test_workers_are_found_beside_processes_with_any_argument(tmp_path: Path) -> None:
    other = subprocess.Popen([b"/bin/sh", b"-c", b"read line", b"\xff"], stdin=subprocess.PIPE)
    try:
        while b"\xff" not in Path(f"/proc/{other.pid}/cmdline").read_bytes():  # it is empty while a program is loaded
            assert other.poll() is None
        assert list(workers(Layout(tmp_path).study("none"))) == []
    finally:
        other.communicate()
