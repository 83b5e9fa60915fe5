"""Get the ImageNet weights a study asks for, once, before its trials start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from study.errors import EngineError, WeightsError
from study.exclusions import admitted_values, forbid
from study.spec import StudySpec

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Fetched:
    """Weights by depth, and for the other depths why there are none."""

    weights: Mapping[int, Arrays]
    missing: Mapping[int, str]


def begin_fetch(depths: Sequence[int]) -> ray.ObjectRef[Any] | None:
    """Ask one worker for the weights; a worker has torch loaded and the driver need not."""
    return _fetch.remote(tuple(depths)) if depths else None


def fetched(fetching: ray.ObjectRef[Any] | None) -> Fetched:
    """Wait for what ``begin_fetch`` asked for.

    Raises:
        EngineError: the worker failed at it.
    """
    if fetching is None:
        return Fetched({}, {})
    try:
        found: Fetched = ray.get(fetching)
    except RayError as error:
        raise EngineError(f"no worker could fetch the ImageNet weights: {error}") from error
    return found


# An environment of its own means a process of its own: a worker that ran a task is never given a trial.
@ray.remote(num_cpus=1, max_retries=2, runtime_env={"env_vars": {"STUDY_TASK": "weights"}})
def _fetch(depths: tuple[int, ...]) -> Fetched:
    from study.training.weights import MissingWeightsError, imagenet_weights

    weights: dict[int, Arrays] = {}
    missing: dict[int, str] = {}
    for depth in depths:
        try:
            weights[depth] = {name: np.asarray(tensor) for name, tensor in imagenet_weights(depth).items()}
        except MissingWeightsError as error:
            missing[depth] = error.why
    return Fetched(weights, missing)


def wanted_depths(spec: StudySpec) -> tuple[int, ...]:
    """Return the depths whose ImageNet weights some trial may ask for."""
    if "imagenet" not in admitted_values(spec, "init"):
        return ()
    return tuple(int(depth) for depth in admitted_values(spec, "depth"))


def without_missing(spec: StudySpec, missing: Mapping[int, str]) -> tuple[StudySpec, tuple[str, ...]]:
    """Take ``init: imagenet`` out of the space where there are no weights for it.

    Returns:
        The space that is left, and one line for each thing taken out.

    Raises:
        WeightsError: nothing remains, or the study file says ``on_missing_weights: fail``.
    """
    if not missing:
        return spec, ()
    reasons = _reasons(missing)
    if spec.on_missing_weights == "fail":
        raise WeightsError(f"on_missing_weights is `fail`: {reasons}")
    depths = tuple(int(depth) for depth in admitted_values(spec, "depth"))
    gone = [depth for depth in depths if depth in missing]
    try:
        left = forbid(spec, "init", "imagenet", "depth", gone)
    except ValueError as error:
        raise WeightsError(f"{error}: {reasons}") from error
    where = "" if len(gone) == len(depths) else f" for depth {', '.join(map(str, gone))}"
    return left, (f"init: imagenet is left out{where}, weights are missing: {reasons}",)


def _reasons(missing: Mapping[int, str]) -> str:
    """Say each reason once, with the depths it holds for."""
    depths: dict[str, list[int]] = {}
    for depth, why in missing.items():
        depths.setdefault(why, []).append(depth)
    return "; ".join(f"depth {' and '.join(map(str, found))}: {why}" for why, found in depths.items())
