"""Run studies on a cluster of several real nodes on one machine: nodes come and go, trials stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from commands import study_error
from crash_checks import (
    Ended,
    all_planned_trials,
    each_trial_told_once,
    every_epoch_reported_once,
    nothing_left_running,
    one_run_per_trial,
    storage_and_mlflow_agree,
)
from crash_kit import Driver, workers
from ray.cluster_utils import Cluster

from study.engine.ray.cluster import RAY_ENVIRONMENT
from study.paths import Layout
from study.records import TrialState

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
STUDY = """\
name: nodes
data: {source: faces, image_size_px: 32, count: 60}
trial: {depth: 10, max_epochs: 5, batch_size: 8}
space: {learning_rate: {loguniform: [1e-3, 1e-2]}}
search: {sampler: random, trials: 3, pruner: none}
resources: {gpus_per_trial: 0}
"""


class Nodes:
    """A head and one more node, each a real raylet with one logical CPU."""

    def __init__(self) -> None:
        size = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        self._add = lambda: self._cluster.add_node(**size)
        self._cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
        self._others = [self._add()]
        self.address = str(self._cluster.address)

    def kill_busy(self, workers: Collection[int]) -> bool:
        """Kill a node that is not the head with one of these workers on it; return whether there was one."""
        parents = {_parent(pid) for pid in workers}
        busy = [
            node for node in self._others if {raylet.process.pid for raylet in node.all_processes["raylet"]} & parents
        ]
        for node in busy[:1]:
            self._others.remove(node)
            self._cluster.remove_node(node, allow_graceful=False)
        return bool(busy)

    def add_one(self) -> None:
        self._others.append(self._add())

    def stop(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**RAY_ENVIRONMENT, "RAY_preload_python_modules": ""}.items():
            patch.setenv(key, value)
        running = Nodes()
        yield running
        running.stop()


def write(folder: Path, text: str = STUDY) -> Path:
    file = folder / "study.yaml"
    file.write_text(text)
    return file


def test_a_study_loses_a_node_and_gains_one(tmp_path: Path, nodes: Nodes) -> None:
    layout = Layout(tmp_path).study("nodes")
    driver = Driver(tmp_path, "run", str(write(tmp_path)), "--address", nodes.address)
    try:
        driver.wait_until(lambda: nodes.kill_busy([pid for pid, folder in workers(layout) if _begun(folder)]))
        nodes.add_one()
        code, output = driver.end()
    finally:
        driver.remove_orphans()
    assert code == 0, output
    end = Ended.read(tmp_path, "nodes")
    for holds in CHECKS:
        holds(end)
    assert {record.state for record in end.records} == {TrialState.COMPLETE}
    assert sorted(record.attempts for record in end.records) == [1] * 2 + [2], "one trial was placed again"


CHECKS: tuple[Callable[[Ended], None], ...] = (
    all_planned_trials, each_trial_told_once, every_epoch_reported_once, one_run_per_trial, nothing_left_running,
    storage_and_mlflow_agree,
)  # fmt: skip


def _begun(folder: Path) -> bool:
    """Whether the trial has a checkpoint to go on from."""
    return (folder / "last.pt").exists()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_trial_that_no_node_can_hold_is_refused_at_once(tmp_path: Path, nodes: Nodes) -> None:
    text = STUDY.replace("gpus_per_trial: 0", "gpus_per_trial: 0, cpus_per_trial: 2")
    done = study_error("run", write(tmp_path, text), "--results", tmp_path, "--address", nodes.address)
    assert "asks for 2 CPUs" in done
    assert "the largest node has 1 CPUs" in done
    assert not Layout(tmp_path).study("nodes").journal.exists()
