"""Start or join a Ray cluster, and count the trials it can run at once."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread

import ray

from study.config.search_config import ResourceSpec
from study.config.study_config import StudySpec
from study.engine.driver_process import preserve_handlers, quit_on_signals
from study.engine.ray.forked_workers import fork_server, launching_python
from study.errors import EngineError
from study.utils.cpus import available_cores

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Internal settings of Ray without a public equivalent: prestarted workers import torch while the driver still reads
    # data, and stay alive although Tune reserves their CPUs some time before it uses them; and half of all times Ray's
    # first process would sleep for a second before it tries once more to reach its own object store.
    "RAY_preload_python_modules": "study.engine.ray.preload",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "RAY_raylet_client_connect_timeout_milliseconds": "20",
    "RAY_raylet_client_num_connect_attempts": "500",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the storage and the tracker keep it all
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is disposable
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
WORKER_NICENESS = "RAY_worker_niceness"
"""Ray's setting: new workers would wait for Ray's own processes, which start at the same time."""
TRIAL_NICENESS, USUAL_NICENESS = "STUDY_TRIAL_NICENESS", "15"
"""What workers set for themselves when they begin to train: what Ray gives them from the start."""
LOCAL = "local"
ANSWER_TIMEOUT_S = 5.0
LAST_PORT = 65535
OTHER_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
"""Where Ray's files go when TMPDIR does not serve."""
MOST_SOCKET_BYTES = 107
LONGEST_SOCKET = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""What Ray appends to the folder of its files."""
_log = logging.getLogger(__name__)
RESOLUTION = 10_000
"""Ray counts resources in ten-thousandths."""
ACCELERATOR = "accelerator_type:"
"""Prefix of Ray's resource that names the GPU model of a node."""


@dataclass(frozen=True)
class Slots:
    """What one trial gets and how many run at once."""

    cpus: int
    gpus: float
    count: int


@contextmanager
def cluster(address: str | None, meanwhile: Sequence[str] = ()) -> Iterator[None]:
    """Join the cluster at ``address``, or start one on this machine and shut it down afterwards.

    Without an address RAY_ADDRESS is used, which a submitted job has. A cluster that is started has as many CPUs as
    this process may use. ``meanwhile`` names modules to import while Ray starts, which mostly waits for its processes.

    Raises:
        EngineError: the address does not answer, or Ray cannot start here.
    """
    if WORKER_NICENESS not in os.environ:
        os.environ |= {WORKER_NICENESS: "0", TRIAL_NICENESS: USUAL_NICENESS}
    for key, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    with preserve_handlers(), ExitStack() as afterwards:
        # Never without an address, which would join whatever cluster somebody else started on this machine.
        with _importing(meanwhile):
            if (joined := address or os.environ.get("RAY_ADDRESS") or LOCAL) == LOCAL:
                folder = _choose_folder()
                _start_here(folder, afterwards.enter_context(fork_server(Path(folder) / "ray")))
            else:
                _join(joined, "--address" if address else "RAY_ADDRESS in the environment")
        quit_on_signals()
        try:
            yield
        finally:
            leave_cluster()


def leave_cluster() -> None:
    """Leave the cluster before the end of the block, and shut it down if it was started; twice does no harm.

    Meanwhile no thread collects garbage: Ray ends the whole process, without a word, when another thread frees one of
    its references between the end of its C++ part and that of its Python part.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _importing(names: Sequence[str]) -> Iterator[None]:
    """Import modules in a thread during the block; an error is left to whoever needs them."""

    def work() -> None:
        with suppress(Exception):
            for name in names:
                import_module(name)

    thread = Thread(target=work, name="imports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _start_here(folder: str, python: str) -> None:
    """Start a cluster on this machine, with its files in ``folder`` and its processes run by ``python``.

    Raises:
        EngineError: it does not start.
    """
    os.environ["RAY_TMPDIR"] = folder
    if not _has_token():
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray would look for a cluster there, and tell its own processes of it.
    os.environ.pop("RAY_ADDRESS", None)
    # Ray's processes inherit this: a terminal that is closed would end them before the driver has stopped in order.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        with launching_python(python):
            ray.init(
                address=LOCAL,
                num_cpus=available_cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise EngineError(
            f"cannot start Ray on this machine: {_one_line(error)}; its logs are in {folder}/ray/session_latest/logs, "
            "RAY_TMPDIR takes another folder for its files"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _has_token() -> bool:
    """Return whether the home folder has Ray's token for its own processes, or can take one."""
    folder = Path.home() / ".ray"
    if (folder / "auth_token").is_file():
        return True
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


def _join(address: str, named_by: str) -> None:
    """Join a running cluster.

    Raises:
        EngineError: the address has another form, or no cluster answers there.
    """
    way_out = "leave --address out" if named_by == "--address" else "unset RAY_ADDRESS"
    try:
        if address != "auto":
            _require_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"a Ray cluster must answer at {address}, which {named_by} names, but: {_one_line(error)}; "
            f"start one there with `ray start --head`, or {way_out} to run on this machine alone"
        ) from error


def _require_answer(address: str) -> None:
    """Raise an error unless something listens at HOST:PORT; Ray itself would try for two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) <= LAST_PORT):
        raise ValueError("an address is HOST:PORT, such as 10.0.0.1:6379, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT_S).close()
    except UnicodeError as error:  # a part of the name is empty or too long
        raise ValueError(f"{host!r} is no name of a host") from error


def _one_line(error: BaseException) -> str:
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0].rstrip(".;") if lines else type(error).__name__


def _choose_folder() -> str:
    """Return a folder for Ray's files that it can write, and in which the paths of its sockets are not too long.

    Raises:
        EngineError: there is none.
    """
    asked = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    refused: dict[str, str] = {}
    for folder in dict.fromkeys((asked, *OTHER_FOLDERS, f"/run/user/{os.getuid()}", str(Path.cwd()))):
        if (why := _unfit(Path(folder))) is None:
            if refused:
                reasons = "; ".join(f"{other} {reason}" for other, reason in refused.items())
                _log.warning("Ray keeps its files in %s, because %s", folder, reasons)
            return folder
        refused[folder] = why
    reasons = "; ".join(f"{folder} {why}" for folder, why in refused.items())
    raise EngineError(f"Ray needs a folder with a short path for its files, but {reasons}; RAY_TMPDIR names another")


def _unfit(folder: Path) -> str | None:
    """Return why Ray cannot keep its files in a folder, None if it can."""
    if not folder.is_absolute():
        return "is no absolute path"
    if len(os.fsencode(folder)) + LONGEST_SOCKET > MOST_SOCKET_BYTES:
        return "is too long for the names of sockets"
    shared = folder / "ray"
    try:
        with suppress(FileExistsError):
            shared.mkdir(parents=True)
            shared.chmod(0o777)  # as Ray does: other users come here too
        probe = Path(tempfile.mkdtemp(prefix=".study-", dir=shared))
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    probe.rmdir()
    return None


def plan_slots(resources: ResourceSpec, trials: int) -> Slots:
    """Return how many trials run at once; with ``gpus_per_trial: auto`` each has a GPU of its own, if there is one.

    More than one GPU is reserved for a trial if asked for, but the training function uses the first alone.

    Raises:
        EngineError: no node is large enough for one trial; Tune would wait forever.
    """
    asked = resources.gpus_per_trial
    gpus = (1.0 if gpu_nodes() else 0.0) if asked == "auto" else float(asked)
    return Slots(resources.cpus_per_trial, gpus, count_concurrent(resources, gpus, trials))


def count_concurrent(resources: ResourceSpec, gpus: float, trials: int) -> int:
    """Return how many trials with ``gpus`` GPUs each run at once.

    Raises:
        EngineError: no node is large enough for one.
    """
    cpus, nodes = resources.cpus_per_trial, _nodes()
    room = sum(_count_trials(node, cpus, gpus) for node in nodes)
    if room == 0:
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        most = max((node.get("GPU", 0) for node in nodes), default=0)
        raise EngineError(
            f"one node must hold a whole trial, but a trial asks for {cpus} CPUs and {gpus:g} GPUs and the largest "
            f"node has {largest} CPUs and {most:g} GPUs; lower resources.cpus_per_trial or gpus_per_trial"
        )
    return max(1, min(room, trials, resources.max_concurrent_trials or room))


def require_accelerators(spec: StudySpec, slots: Slots) -> None:
    """Raise an error if there is a budget of accelerator hours but no GPU to spend it on.

    Raises:
        EngineError: trials get no GPU.
    """
    hours = spec.budget.accelerator_hours
    if hours is not None and not slots.gpus:
        why = "resources.gpus_per_trial is 0" if gpu_nodes() else "the cluster has none"
        raise EngineError(
            f"budget.accelerator_hours must have GPUs to count, but it is {hours:g} and {why}; "
            "budget.wall_clock limits a study on CPUs"
        )


def gpu_nodes() -> list[dict[str, float]]:
    """Return the resources of every node that has a GPU."""
    return [node for node in _nodes() if node.get("GPU", 0) > 0]


def accelerator_types() -> tuple[str, ...]:
    """Return Ray's names of the GPU models in the cluster; empty if Ray does not know them."""
    names = (name for node in gpu_nodes() for name in node if name.startswith(ACCELERATOR))
    return tuple(dict.fromkeys(name.removeprefix(ACCELERATOR) for name in names))


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _count_trials(node: dict[str, float], cpus: int, gpus: float) -> int:
    """Count the trials that a node has room for; a share of a GPU lies on one GPU, never across two."""
    by_cpu = int(node.get("CPU", 0) // cpus)
    if not gpus:
        return by_cpu
    whole = int(node.get("GPU", 0))
    by_gpu = whole * (RESOLUTION // max(1, round(RESOLUTION * gpus))) if gpus < 1 else int(whole // gpus)
    return min(by_cpu, by_gpu)
