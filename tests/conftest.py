"""Keep every test's caches and settings away from the user's own; start what many tests share."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import secrets
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

# One token for all clusters of this process: Ray keeps the first it meets, and tests change the home folder. A cluster
# of several nodes asks for none by itself; once a process has started one of the other kind, it answers nobody without
# a token, and the first cluster takes that for its death. Ray reads both when it is imported.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
# Threads that wait for work must not spin while other tests need the core: with OpenBLAS's two, some statistics take
# eight times as much of it. Both libraries read this when they are loaded, also in the processes that tests start.
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
pytest_plugins = ("tracking_backends",)
pytest.register_assert_rewrite("browser_kit")  # whichever file imports it first
# The longest files begin first, then the folders that start processes, so that no worker is left with one when the
# others are done.
LONGEST = (
    "test_crash_resume", "test_recipes", "test_whole_study", "test_received_results", "test_model_formats",
    "test_cluster_nodes", "test_outage", "test_preparation", "test_supervisor", "test_moved_results", "test_served",
    "test_model_registry", "test_final_look", "test_bundle_commands", "test_rerun_command", "test_earlier_version",
    "test_verification", "test_precision",
)  # fmt: skip
SLOW = ("command_line", "engine", "tracker", "ui")
MEMORY, NEEDED_BYTES = Path("/dev/shm"), 6 * 2**30
"""Where the tests' folders lie if there is so much room: a disk takes 10 to 20 ms to flush each of their writes."""


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, and so would its children
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.basetemp is None and _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect with the garbage collector switched off, and let it leave alone what is there then.

    It would look through modules and tests, which are no garbage, again and again: half the time that collecting takes.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # else libraries complain of objects that are left


def _has_room(folder: Path) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    (line,) = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")]
    return min(shutil.disk_usage(folder).free, int(line.split()[1]) * 1024) >= NEEDED_BYTES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.stem
        return LONGEST.index(name) if name in LONGEST else len(LONGEST), item.path.parent.name not in SLOW

    items.sort(key=turn)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Render and decode into a folder of this test run, shared by its tests and the processes they start."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_CACHE", str(shared / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(shared / "config"))
        # Most of these studies need one worker, for which a fork server does not pay; some tests ask for it.
        patch.setenv("STUDY_FORKED_WORKERS", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else trials wait for the tests of the other worker
        for name in ("STUDY_RESULTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def ray_node(own_cache: None) -> Iterator[str]:
    """Start a cluster of one node without GPUs; yield its address."""
    from ray.cluster_utils import Cluster

    from study.engine.ray.cluster import RAY_ENVIRONMENT

    with pytest.MonkeyPatch.context() as patch:
        # Workers that import beforehand would do so twice in every study, and most need one.
        for key, value in {**RAY_ENVIRONMENT, "RAY_preload_python_modules": ""}.items():
            patch.setenv(key, value)
        logging.getLogger("ray").setLevel(logging.ERROR)
        node = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        yield str(cluster.address)
        cluster.shutdown()


@pytest.fixture(scope="module")
def shared_cluster(ray_node: str, empty_database: Path) -> Iterator[None]:
    """Let the studies that a module runs in this process join a cluster that is there, and send to MLflow from here.

    Else each starts a cluster and a process that imports MLflow, which makes the tables of its database in half a
    second; studies in processes of their own do still.
    """
    import mlflow  # noqa: F401  # before a study redirects the output: log handlers keep the stream they find

    from study.paths import Layout, StudyLayout
    from tracking.exporter import recorder
    from tracking.exporter.outbox_sender import ExporterThread, OutboxReader
    from tracking.tracking_uri import mask_uri, own_tracking_uri

    def in_a_thread(study: StudyLayout, tracking_uri: str, *, known_away: bool) -> ExporterThread:
        results = Layout(study.results)
        if tracking_uri == own_tracking_uri(results) and not results.mlflow_db.exists():
            shutil.copy(empty_database, results.mlflow_db)
        return ExporterThread(OutboxReader(study, tracking_uri), mask_uri(tracking_uri), known_away=known_away)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", ray_node)
        patch.setattr(recorder, "ExporterProcess", in_a_thread)
        yield


@pytest.fixture
def weights_fetched_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let studies read initial weights in this process; `test_preparation` shows that they do so in a worker."""
    import ray

    from study.engine.weights import initial_weights

    here = SimpleNamespace(remote=lambda wanted, located: ray.put(initial_weights.fetch_weights(wanted, located)))
    monkeypatch.setattr(initial_weights, "fetch_task", here)


@pytest.fixture(scope="module")
def formats_checked_here() -> Iterator[None]:
    """Let the exports of a module run their formats in this process; elsewhere tests show that a user's do not."""
    from model_kit import check_formats_here

    with pytest.MonkeyPatch.context() as patch:
        check_formats_here(patch)
        yield
