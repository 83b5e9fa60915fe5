"""One Ray cluster for all tests of the engine, with more CPUs than there are and GPUs that are only counted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from study.engine.ray.cluster import RAY_ENVIRONMENT, leave_cluster

CPUS, GPUS = 6, 2


@pytest.fixture(scope="session")
def counted_gpus(own_cache: None) -> Iterator[str]:
    """Start a cluster whose workers can import the tests and do not import torch beforehand; yield its address."""
    here = Path(__file__).parent
    folders = [str(here), str(here.parent / "support"), os.environ.get("PYTHONPATH", "")]
    node = {"num_cpus": CPUS, "num_gpus": GPUS, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**RAY_ENVIRONMENT, "RAY_preload_python_modules": ""}.items():
            patch.setenv(key, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(folders))
        cluster = Cluster(initialize_head=True, head_node_args=node)
    yield str(cluster.address)
    cluster.shutdown()


@pytest.fixture(scope="module")
def ray_cluster(counted_gpus: str) -> Iterator[None]:
    """Connect to the cluster for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in RAY_ENVIRONMENT.items():
            patch.setenv(key, value)
        ray.init(counted_gpus, log_to_driver=False, logging_level=logging.ERROR)
        yield
        leave_cluster()


@pytest.fixture(scope="module")
def no_flushing() -> Iterator[None]:
    """Spare the real disk; one that counts what is flushed still does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
