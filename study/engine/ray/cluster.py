"""Start or join a Ray cluster, and count the trials it can run at once."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from study.config.search_config import ResourceSpec
from study.config.study_config import StudySpec
from study.engine.driver_process import preserve_handlers, quit_on_signals
from study.errors import EngineError

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Two internal settings of Ray without a public equivalent: prestarted workers import torch while the driver still
    # reads data, and stay alive although Tune reserves their CPUs some time before it uses them.
    "RAY_preload_python_modules": "torch,torchvision,study.training.trainer,study.engine.ray.trainable",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the storage and the tracker keep it all
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's own state is disposable
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
ANSWER_TIMEOUT_S = 5.0
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
def cluster(address: str | None) -> Iterator[None]:
    """Join the cluster at ``address``, or start one on this machine and shut it down afterwards.

    Without an address RAY_ADDRESS is used, which a submitted job has.

    Raises:
        EngineError: the address does not answer.
    """
    for key, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    where = "a Ray cluster on this machine" if address == "local" else f"the Ray cluster at {address}"
    with preserve_handlers():
        try:
            _require_answer(address)
            # Not None, which would join whatever cluster somebody else started on this machine.
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise EngineError(
                f"cannot reach or start {where}: {error}; see `ray status`, or leave --address out"
            ) from error
        quit_on_signals()
        try:
            yield
        finally:
            ray.shutdown()


def _require_answer(address: str) -> None:
    """Raise OSError unless something listens at the address; Ray itself would try for two minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_TIMEOUT_S).close()


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
