"""Kill real drivers and workers of real studies; count what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import ROOT, study

from study.layout import Layout, StudyLayout
from study.ledger import Ledger
from study.records import StopReason, TrialRecord, TrialState
from study.training.checkpoint import best_folder

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

STUDY = """\
name: crash
data: {source: faces, image_size_px: 24, count: 60}
trial: {depth: 10, max_epochs: 4, batch_size: 8}
space: {learning_rate: {loguniform: [1e-3, 1e-2]}}
search: {sampler: random, trials: 5, pruner: none}
resources: {gpus_per_trial: 0}
"""
FAULTY = """\
name: faulty
data: {source: faces, image_size_px: 24, count: 60}
trial: {depth: 10, max_epochs: 4, batch_size: 8, optimizer: sgd}
space: {learning_rate: {choice: [0.001, 1.0e+30]}}
search: {sampler: random, trials: 4, seed: 0, pruner: none}
resources: {gpus_per_trial: 0}
"""


class Driver:
    """A study that runs in a process group of its own, as under a terminal."""

    def __init__(self, results: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "cli", *arguments, "--results", str(results)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True
        )

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 120) -> None:
        until = time.monotonic() + timeout_s
        while not holds():
            if self._process.poll() is not None:
                raise AssertionError(f"the study ended too early:\n{self._process.communicate()[0]}")
            assert time.monotonic() < until, "nothing happened for too long"
            time.sleep(0.002)

    def kill(self) -> None:
        """Kill the driver alone; its workers notice after a second or two, while the next driver starts."""
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL
        assert self._process.stdout is not None
        self._process.stdout.close()

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C: the whole group hears it."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.end()

    def end(self) -> tuple[int, str]:
        output, _ = self._process.communicate(timeout=200)
        return self._process.returncode, output

    def remove_orphans(self) -> None:
        """Remove what Ray leaves behind of a killed driver: all that runs in its session."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                if session == self._process.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue

    def workers(self) -> Iterator[tuple[int, Path]]:
        """Yield the process id of each of this study's workers and the trial folder it holds."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if "ray::TrialWorker" in (entry / "cmdline").read_text():
                    links = [os.readlink(one) for one in (entry / "fd").iterdir()]
                    yield from ((int(entry.name), Path(one)) for one in links if "/trials/0" in one)
            except OSError:
                continue


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Give a way to start drivers on one results folder; whatever is left of them is removed at the end."""
    drivers: list[Driver] = []

    def start(*arguments: object) -> Driver:
        drivers.append(Driver(tmp_path, *map(str, arguments)))
        return drivers[-1]

    yield start
    for one in drivers:
        one.remove_orphans()


def write(folder: Path, text: str) -> Path:
    file = folder / "study.yaml"
    file.write_text(text)
    return file


def epochs(layout: StudyLayout) -> int:
    """Count the epochs in the ledger, without disturbing anybody."""
    return layout.ledger.read_text().count('{"epoch:') if layout.ledger.exists() else 0


def mlflow_runs(results: Path, name: str) -> list[tuple[str, str, list[int]]]:
    """Return number, status and the steps of val_auc of every trial's run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = []
    for run in client.search_runs([experiment.experiment_id]):
        steps = [one.step for one in client.get_metric_history(run.info.run_id, "val_auc")]
        found.append((run.data.tags.get("study.trial", "parent"), run.info.status, sorted(steps)))
    return sorted(found)


def check_files(layout: StudyLayout, records: list[TrialRecord]) -> None:
    for record in records:
        left = {one.name for one in layout.trial(record.trial).iterdir()}
        assert record.epoch is not None
        folder = best_folder(layout.trial(record.trial), record.epoch)
        assert left == {folder.name, "shifted.npz", "pictures.html"}
        assert record.checkpoint == str(folder.absolute())
        assert {one.name for one in folder.iterdir()} == {"model.safetensors", "checkpoint.json", "validation.npz"}


@pytest.mark.timeout(400)
def test_a_study_survives_three_kills_and_a_ctrl_c(tmp_path: Path, launch: Callable[..., Driver]) -> None:
    layout = Layout(tmp_path).study("crash")
    trials = layout.root / "trials"

    first = launch("run", write(tmp_path, STUDY))
    first.wait_until(lambda: any(trials.glob("*")) and epochs(layout) == 0)
    first.kill()

    second = launch("resume", "crash")
    second.wait_until(lambda: epochs(layout) >= 3)
    second.kill()

    third, before = launch("resume", "crash"), epochs(layout)
    third.wait_until(lambda: epochs(layout) > before and (any(trials.glob("*/.*.part"))))
    third.kill()

    fourth, before = launch("resume", "crash"), epochs(layout)
    fourth.wait_until(lambda: epochs(layout) > before)
    code, output = fourth.interrupt()
    assert code == 130, output
    assert "study resume crash" in output

    ended = study("resume", "crash", "--results", tmp_path)
    assert ended.returncode == 0, ended.stderr
    records = Ledger.open(layout).records()
    assert [one.trial for one in records] == [0, 1, 2, 3, 4]
    assert {one.state for one in records} == {TrialState.COMPLETE}
    assert all([one.epoch for one in record.history] == [1, 2, 3, 4] for record in records)
    assert layout.ledger.read_text().count('"state":1') == 5, "each trial is told once"
    assert max(one.attempts for one in records) >= 2
    check_files(layout, records)
    runs = mlflow_runs(tmp_path, "crash")
    assert runs == [*((str(number), "FINISHED", [1, 2, 3, 4]) for number in range(5)), ("parent", "FINISHED", [])]


@pytest.mark.timeout(300)
def test_a_dead_worker_is_replaced_and_a_bug_is_not_tried_again(tmp_path: Path, launch: Callable[..., Driver]) -> None:
    layout = Layout(tmp_path).study("faulty")
    driver = launch("run", write(tmp_path, FAULTY))
    victims: list[tuple[int, Path]] = []

    def found_one() -> bool:
        if epochs(layout):
            held = [one for one in driver.workers() if layout.root in one[1].parents]
            victims.extend(one for one in held if (one[1] / "last.pt").exists())
        return bool(victims)

    driver.wait_until(found_one)
    pid, folder = victims[0]
    os.kill(pid, signal.SIGKILL)
    code, output = driver.end()
    assert code == 0, output
    records = Ledger.open(layout).records()
    bad = [one for one in records if one.params["learning_rate"] > 1]
    assert 0 < len(bad) < 4
    for record in bad:
        assert (record.state, record.stop_reason, record.attempts) == (TrialState.FAILED, StopReason.ERROR, 1)
        assert record.error is not None
        assert "NonFiniteLossError" in record.error
        assert "Traceback" in layout.trial_error(record.trial).read_text()
    good = [one for one in records if one not in bad]
    for record in good:
        assert record.state is TrialState.COMPLETE
        assert [one.epoch for one in record.history] == [1, 2, 3, 4]
        assert record.attempts == (2 if record.trial == int(folder.name) else 1)
    check_files(layout, good)
    assert [(number, status) for number, status, _ in mlflow_runs(tmp_path, "faulty")] == [
        *((str(one.trial), "FAILED" if one in bad else "FINISHED") for one in records),
        ("parent", "FINISHED"),
    ]
