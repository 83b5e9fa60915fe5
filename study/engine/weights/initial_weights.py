"""Get the weights a study's trials begin with, once, before the trials start."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from study.config.hyperparameters import DEPTHS
from study.config.study_config import StudySpec
from study.engine.model_key import WeightsKey
from study.errors import EngineError, StudyError, WeightsError
from study.paths import WEIGHTS, StudyLayout, write_atomic
from study.search.space import admitted_values, forbid
from study.utils.remote_files import download_checkpoint

if TYPE_CHECKING:
    import torch


Arrays = Mapping[str, NDArray[Any]]
CHECKPOINT, RUN = "checkpoint:", "run:"


@dataclass(frozen=True)
class FetchResult:
    """Weights by what they are for, for the others why there are none, and what must stop the study."""

    weights: Mapping[WeightsKey, Arrays] = field(default_factory=dict)
    missing: Mapping[WeightsKey, str] = field(default_factory=dict)
    fault: str | None = None


def required_weights(spec: StudySpec) -> tuple[WeightsKey, ...]:
    """Return every set of weights some trial may begin with, those that are drawn not among them."""
    inits = [str(one) for one in admitted_values(spec, "init")]
    models = [
        (str(family), int(depth))
        for family in admitted_values(spec, "family")
        for depth in admitted_values(spec, "depth")
        if depth in DEPTHS[str(family)]
    ]
    given = [one for one in inits if one in ("imagenet", "rotation") or one.startswith((CHECKPOINT, RUN))]
    return tuple(WeightsKey(init, family, depth) for init in dict.fromkeys(given) for family, depth in models)


def locate_weights(wanted: Sequence[WeightsKey], runs: Mapping[str, str]) -> dict[str, Path]:
    """Return where the weights of every ``checkpoint:PATH`` and ``run:RUN_ID`` lie.

    Args:
        wanted: what ``required_weights`` found.
        runs: paths or URIs of checkpoints by MLflow run id.

    Raises:
        WeightsError: a path does not exist, or a run is not known, has no checkpoint or no longer its weights.
        StorageError: a checkpoint cannot be copied here.
    """
    found: dict[str, Path] = {}
    for key in wanted:
        if key.init.startswith(CHECKPOINT):
            path = Path(key.init.removeprefix(CHECKPOINT)).expanduser().absolute()
            if not path.exists():
                raise WeightsError(f"init {key.init} must be an existing file or folder, but {path} does not exist")
            found[key.init] = path
        elif key.init.startswith(RUN):
            run = key.init.removeprefix(RUN)
            if run not in runs:
                raise WeightsError(
                    f"init {key.init} must be the run of a trial in this results folder that ended with a checkpoint, "
                    "but there is none; `study best` names one, checkpoint:PATH takes any file of weights"
                )
            folder = found[key.init] = download_checkpoint(runs[run])
            if not (folder / WEIGHTS).is_file():
                raise WeightsError(
                    f"init {key.init} must be the run of a trial whose weights were kept, but {runs[run]} has none any "
                    f"more; `study rerun {run}` makes them again, `keep: {{per_study: all}}` keeps those of every trial"
                )
    return found


def start_fetch(wanted: Sequence[WeightsKey], located: Mapping[str, Path]) -> ray.ObjectRef[Any] | None:
    """Ask one worker for the weights; a worker has torch loaded and the driver need not."""
    asked = tuple(key for key in wanted if key.init == "imagenet" or key.init in located)
    return _fetch.remote(asked, dict(located)) if asked else None


def wait_for_fetch(fetching: ray.ObjectRef[Any] | None) -> FetchResult:
    """Wait for what ``start_fetch`` asked for.

    Raises:
        EngineError: the worker failed at it.
        WeightsError: weights that were named cannot be read or do not fit.
    """
    if fetching is None:
        return FetchResult()
    try:
        found: FetchResult = ray.get(fetching)
    except RayError as error:
        raise EngineError(f"no worker could fetch the weights: {error}") from error
    if found.fault is not None:
        raise WeightsError(found.fault)
    return found


# An environment of its own means a process of its own: a worker that ran a task is never given a trial.
@ray.remote(num_cpus=1, max_retries=2, runtime_env={"env_vars": {"STUDY_TASK": "weights"}})
def _fetch(wanted: tuple[WeightsKey, ...], located: Mapping[str, Path]) -> FetchResult:
    from study.training.models.pretrained_weights import MissingWeightsError

    weights: dict[WeightsKey, Arrays] = {}
    missing: dict[WeightsKey, str] = {}
    try:
        for key in wanted:
            try:
                weights[key] = _read(key, located)
            except MissingWeightsError as error:
                missing[key] = error.why
    except StudyError as error:
        return FetchResult(fault=str(error))
    return FetchResult(weights, missing)


def _read(key: WeightsKey, located: Mapping[str, Path]) -> Arrays:
    import torch

    from study.config.hyperparameters import Hyperparameters
    from study.training.models.architectures import build_model
    from study.training.models.initialization import validate_weights
    from study.training.models.pretrained_weights import imagenet_weights, read_weights

    found = read_weights(located[key.init]) if key.init in located else imagenet_weights(key.family, key.depth)
    with torch.device("meta"):
        model = build_model(Hyperparameters.model_validate({"family": key.family, "depth": key.depth}))
    validate_weights(model, key.init, found)
    return {name: _as_array(tensor) for name, tensor in found.items()}


def _as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as NumPy holds it, which knows no bfloat16, in the order in which it is stored."""
    plain = tensor.detach().contiguous()
    return np.asarray(plain.float() if plain.is_floating_point() else plain)


def without_missing(spec: StudySpec, missing: Mapping[WeightsKey, str]) -> tuple[StudySpec, tuple[str, ...]]:
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
    models = [(key.family, key.depth) for key in required_weights(spec) if key.init == "imagenet"]
    lacking = [(key.family, key.depth) for key in missing]
    try:
        for name, values in _beside(models, lacking).items():
            spec = forbid(spec, "init", "imagenet", name, values)
    except ValueError as error:
        raise WeightsError(f"{error}: {reasons}") from error
    where = "" if len(lacking) == len(models) else f" for {_named(lacking)}"
    return spec, (f"init: imagenet is left out{where}, weights are missing: {reasons}",)


def _beside(models: Sequence[tuple[str, int]], lacking: Sequence[tuple[str, int]]) -> dict[str, list[str | int]]:
    """Say beside which depths, or families, imagenet must not be drawn.

    A depth that is lacking for one family only takes that whole family's ImageNet weights with it, because an
    exclusion knows one parameter.
    """
    depths = {depth for _, depth in models}
    gone = {depth for depth in depths if all(model in lacking for model in models if model[1] == depth)}
    families = {family for family, depth in lacking if depth not in gone}
    found: dict[str, list[str | int]] = {"depth": sorted(gone)} if gone else {}
    return found | ({"family": sorted(families)} if families else {})


def _named(models: Sequence[tuple[str, int]]) -> str:
    families = dict.fromkeys(family for family, _ in models)
    depths = {family: ", ".join(str(depth) for one, depth in models if one == family) for family in families}
    return "; ".join(
        f"{'' if list(families) == ['resnet'] else f'family {one}, '}depth {depths[one]}" for one in families
    )


def _reasons(missing: Mapping[WeightsKey, str]) -> str:
    """Say each reason once, with the models it holds for."""
    by_reason: dict[str, list[tuple[str, int]]] = {}
    for key, why in missing.items():
        by_reason.setdefault(why, []).append((key.family, key.depth))
    return "; ".join(f"{_named(models)}: {why}" for why, models in by_reason.items())


def store_weights(layout: StudyLayout, weights: Mapping[WeightsKey, Arrays]) -> None:
    """Write weights, each set whole or not at all; published ones are left out."""
    for key, arrays in weights.items():
        if key.init != "imagenet":
            _write(_path(layout, key), arrays)


def load_stored_weights(layout: StudyLayout, wanted: Sequence[WeightsKey]) -> dict[WeightsKey, Arrays]:
    """Read what ``store_weights`` wrote of these.

    Raises:
        WeightsError: a file is damaged.
    """
    found: dict[WeightsKey, Arrays] = {}
    for key in wanted:
        path = _path(layout, key)
        if path.exists():
            try:
                found[key] = load_file(path)
            except (OSError, SafetensorError) as error:
                raise WeightsError(
                    f"{path} must hold the weights of init {key.init}, but is damaged: {error}"
                ) from error
    return found


def delete_stored_weights(layout: StudyLayout) -> None:
    """Remove what an earlier study of the name left that never began."""
    shutil.rmtree(layout.pretrained, ignore_errors=True)


def _write(path: Path, arrays: Arrays) -> None:
    # safetensors writes memory as it lies and the shape beside it: another order than C would come back scrambled.
    ordered = {name: np.array(one, order="C") for name, one in arrays.items()}
    write_atomic(path, lambda file: file.write(save(ordered)))


def _path(layout: StudyLayout, key: WeightsKey) -> Path:
    digest = hashlib.sha256(repr(tuple(key)).encode()).hexdigest()[:16]
    return layout.pretrained / f"{key.init.partition(':')[0]}-{key.family}-{key.depth}-{digest}.safetensors"
