"""Pretrain backbones by rotation prediction on the cluster, once per model; the study keeps the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from study.config.study_config import StudySpec
from study.data.dataset import DataBundle
from study.engine.waiting import wait_for_task
from study.engine.weights.initial_weights import Arrays, WeightsKey
from study.errors import EngineError, WeightsError

if TYPE_CHECKING:
    from study.training.rotation_pretraining import PretrainedBackbone


ROTATION = "rotation"


def pretrain_by_rotation(
    spec: StudySpec,
    wanted: Sequence[WeightsKey],
    data: DataBundle,
    say: Callable[[str], None],
    *,
    cpus: int,
    gpus: float,
) -> dict[WeightsKey, Arrays]:
    """Pretrain a backbone for every model with ``init: rotation``, as many at once as trials run.

    Args:
        spec: the study; ``rotation`` says how.
        wanted: the weights that trials begin with; other inits are ignored.
        data: its training images are learned from, its validation images measure the accuracy.
        say: shows a line.
        cpus: CPUs of one model.
        gpus: GPUs of one model.

    Raises:
        WeightsError: the training failed.
        EngineError: the cluster failed.
    """
    keys = [key for key in wanted if key.init == ROTATION]
    if not keys:
        return {}
    images = ray.put((data.train.images, data.val.images))
    task = _pretrain.options(num_cpus=cpus, num_gpus=gpus)
    running = {task.remote(spec, key, images, cpus, gpus): key for key in keys}
    say(f"init rotation: learning which way up {len(data.train)} images are, for {len(keys)} model(s)")
    weights: dict[WeightsKey, Arrays] = {}
    while running:
        done = wait_for_task(list(running))
        key = running.pop(done)
        weights[key], accuracy, seconds = _result(done, key)
        say(
            f"init rotation: {key.family} {key.depth} took {seconds:.0f} s and tells {accuracy:.0%} of turned "
            "validation images apart (chance 25%)"
        )
    return weights


def _result(done: Any, key: WeightsKey) -> tuple[Arrays, float, float]:
    try:
        result: tuple[Arrays, float, float] = ray.get(done)
    except RayTaskError as error:
        raise WeightsError(f"init rotation failed for {key.family} {key.depth}: {error.cause}") from error
    except RayError as error:
        raise EngineError(f"no worker could pretrain {key.family} {key.depth}: {error}") from error
    return result


@ray.remote(max_calls=1, max_retries=2, runtime_env={"env_vars": {"STUDY_TASK": ROTATION}})  # an idle one keeps its GPU
def _pretrain(
    spec: StudySpec,
    key: WeightsKey,
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    threads: int,
    gpus: float,
) -> tuple[Mapping[str, NDArray[Any]], float, float]:
    import torch

    from study.training.device import pick_device
    from study.training.rotation_pretraining import pretrain

    torch.set_num_threads(threads)
    model = spec.trial.model_copy(update={"family": key.family, "depth": key.depth})
    done: PretrainedBackbone = pretrain(
        model,
        spec.rotation,
        *images,
        seed=spec.search.seed,
        device=pick_device() if gpus else torch.device("cpu"),
    )
    return {name: tensor.numpy() for name, tensor in done.weights.items()}, done.accuracy, done.seconds
