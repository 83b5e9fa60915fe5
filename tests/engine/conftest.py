"""One Ray cluster for all tests that need a real one, with GPUs that are only counted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from study.engine.ray.cluster import RAY_ENVIRONMENT

CPUS, GPUS = 6, 2


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Start a cluster whose workers can import the tests and do not import torch beforehand."""
    here = Path(__file__).parent
    folders = [str(here), str(here.parent / "support"), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**RAY_ENVIRONMENT, "RAY_preload_python_modules": ""}.items():
            patch.setenv(key, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(folders))
        ray.init(
            address="local", num_cpus=CPUS, num_gpus=GPUS, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, object_store_memory=80 * 2**20,
        )  # fmt: skip
        yield
        ray.shutdown()
