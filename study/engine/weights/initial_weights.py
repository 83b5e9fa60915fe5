"""Get the weights that a study's trials begin with, once, before the trials start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from study.config.hyperparameters import DEPTHS
from study.config.study_config import StudySpec
from study.engine.waiting import wait_for_task
from study.errors import EngineError, StudyError, WeightsError
from study.files import expand_home, write_atomic
from study.paths import WEIGHTS, StudyLayout
from study.search.space import admitted_values, forbid
from study.training.models.weights_file import FoundWeights, read_weights, require_weights_file
from study.utils.remote_files import download_checkpoint
from study.utils.text import printable, shorten

if TYPE_CHECKING:
    import torch


class WeightsKey(NamedTuple):
    """A set of weights: where they come from (a trial's ``init``) and the model they fit."""

    init: str
    family: str
    depth: int


Arrays = Mapping[str, NDArray[Any]]
CHECKPOINT, RUN = "checkpoint:", "run:"
LONGEST_PATH = 500


@dataclass(frozen=True)
class FetchResult:
    """The weights fetched, why others are missing, what was changed in some, and the error that must stop the study."""

    weights: Mapping[WeightsKey, Arrays] = field(default_factory=dict)
    missing: Mapping[WeightsKey, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    error: str | None = None


def required_weights(spec: StudySpec) -> tuple[WeightsKey, ...]:
    """Return every set of weights that some trial may begin with, except randomly drawn ones."""
    inits = [str(init) for init in admitted_values(spec, "init")]
    models = [
        (str(family), int(depth))
        for family in admitted_values(spec, "family")
        for depth in admitted_values(spec, "depth")
        if depth in DEPTHS[str(family)]
    ]
    given = [init for init in inits if init in ("imagenet", "rotation") or init.startswith((CHECKPOINT, RUN))]
    return tuple(WeightsKey(init, family, depth) for init in dict.fromkeys(given) for family, depth in models)


def locate_weights(wanted: Sequence[WeightsKey], runs: Mapping[str, str], options: str = "") -> dict[str, Path]:
    """Return the file or folder of the weights of every ``checkpoint:PATH`` and ``run:RUN_ID``.

    Args:
        wanted: as returned by ``required_weights``.
        runs: paths or URIs of checkpoints by MLflow run id.
        options: of commands in messages, which name the results folder; with a blank before each.

    Raises:
        WeightsError: a path does not exist or holds something else, or a run is unknown, has no checkpoint or lost its
            weights.
        StorageError: a checkpoint cannot be copied here.
    """
    located: dict[str, Path] = {}
    for key in wanted:
        if key.init.startswith(CHECKPOINT):
            path = expand_home(key.init.removeprefix(CHECKPOINT)).absolute()
            try:
                state = "" if path.exists() else "does not exist"
            except OSError as error:
                state = f"cannot be read: {error.strerror}"
            if state:
                shown = shorten(str(path), LONGEST_PATH)
                rule = f"init {shorten(key.init, LONGEST_PATH)} must be an existing file or folder"
                raise WeightsError(f"{rule}, but {shown} {state}")
            require_weights_file(path)
            located[key.init] = path
        elif key.init.startswith(RUN):
            run = key.init.removeprefix(RUN)
            if run not in runs:
                raise WeightsError(
                    f"init {printable(key.init)} must be the run of a trial in this results folder that ended with a "
                    f"checkpoint, but there is none; `study best{options}` names one, checkpoint:PATH takes any file "
                    "of weights"
                )
            folder = located[key.init] = download_checkpoint(runs[run])
            if not (folder / WEIGHTS).is_file():
                raise WeightsError(
                    f"init {printable(key.init)} must be the run of a trial whose weights were kept, but {runs[run]} "
                    f"has none any more; `study rerun {run}{options} --save DIR` makes them again, `keep: "
                    "{per_study: all}` keeps those of every trial"
                )
    return located


def start_fetch(wanted: Sequence[WeightsKey], located: Mapping[str, Path]) -> ray.ObjectRef[Any] | None:
    """Start to read the weights in one worker, so that the driver need not import torch."""
    asked = tuple(key for key in wanted if key.init == "imagenet" or key.init in located)
    return fetch_task.remote(asked, dict(located)) if asked else None


def wait_for_fetch(fetching: ray.ObjectRef[Any] | None) -> FetchResult:
    """Wait for the result of ``start_fetch``.

    Raises:
        EngineError: the worker failed.
        WeightsError: weights that were named cannot be read or do not fit.
    """
    if fetching is None:
        return FetchResult()
    try:
        result: FetchResult = ray.get(wait_for_task([fetching]))
    except RayError as error:
        cause = str(getattr(error, "cause", error)).strip().splitlines() or [type(error).__name__]
        raise EngineError(f"no worker could fetch the weights: {cause[-1]}") from error
    if result.error is not None:
        raise WeightsError(result.error)
    return result


def fetch_weights(wanted: tuple[WeightsKey, ...], located: Mapping[str, Path]) -> FetchResult:
    """Read the weights in this process, which imports torch."""
    from study.training.models.pretrained_weights import MissingWeightsError

    weights: dict[WeightsKey, Arrays] = {}
    missing: dict[WeightsKey, str] = {}
    notices: dict[str, None] = {}
    try:
        for key in wanted:
            try:
                weights[key], note = _read(key, located)
                notices |= {f"init {printable(key.init)}: {note}": None} if note else {}
            except MissingWeightsError as error:
                missing[key] = error.why
    except StudyError as error:
        return FetchResult(error=str(error))
    return FetchResult(weights, missing, tuple(notices))


# Ray starts a process of its own for an environment of its own; a worker that ran a task would never get a trial.
fetch_task = ray.remote(num_cpus=1, max_retries=2, runtime_env={"env_vars": {"STUDY_TASK": "weights"}})(fetch_weights)


def _read(key: WeightsKey, located: Mapping[str, Path]) -> tuple[Arrays, str]:
    """Return weights that fit a model, and what was changed in them."""
    import torch

    from study.config.hyperparameters import Hyperparameters
    from study.training.models.architectures import build_model
    from study.training.models.initialization import validate_weights
    from study.training.models.pretrained_weights import imagenet_weights

    with torch.device("meta"):
        model = build_model(Hyperparameters.model_validate({"family": key.family, "depth": key.depth}))
    if key.init in located:
        weights = read_weights(located[key.init], model.state_dict())
    else:
        weights = FoundWeights(imagenet_weights(key.family, key.depth))
    validate_weights(model, key.init, weights.tensors)
    return {name: _as_array(tensor) for name, tensor in weights.tensors.items()}, weights.note


def _as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as a C-ordered array; bfloat16, which NumPy lacks, becomes float32."""
    plain = tensor.detach().contiguous()
    return np.asarray(plain.float() if plain.is_floating_point() else plain)


def without_missing(spec: StudySpec, missing: Mapping[WeightsKey, str]) -> tuple[StudySpec, tuple[str, ...]]:
    """Remove ``init: imagenet`` from the space for models that have no such weights.

    Returns:
        The remaining space, and one line for each value removed.

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
    """Return the depths or families for which imagenet must not be drawn.

    If a depth lacks weights in some families only, these families lose imagenet altogether, because an exclusion
    names one parameter.
    """
    depths = {depth for _, depth in models}
    gone = {depth for depth in depths if all(model in lacking for model in models if model[1] == depth)}
    families = {family for family, depth in lacking if depth not in gone}
    excluded: dict[str, list[str | int]] = {"depth": sorted(gone)} if gone else {}
    return excluded | ({"family": sorted(families)} if families else {})


def _named(models: Sequence[tuple[str, int]]) -> str:
    families = dict.fromkeys(family for family, _ in models)
    depths = {family: ", ".join(str(depth) for other, depth in models if other == family) for family in families}
    return "; ".join(
        f"{'' if list(families) == ['resnet'] else f'family {family}, '}depth {depths[family]}" for family in families
    )


def _reasons(missing: Mapping[WeightsKey, str]) -> str:
    """Return each reason once, with the models it applies to."""
    by_reason: dict[str, list[tuple[str, int]]] = {}
    for key, why in missing.items():
        by_reason.setdefault(why, []).append((key.family, key.depth))
    return "; ".join(f"{_named(models)}: {why}" for why, models in by_reason.items())


def store_weights(layout: StudyLayout, weights: Mapping[WeightsKey, Arrays]) -> None:
    """Write the weights that nobody publishes, each set whole or not at all."""
    for key, arrays in weights.items():
        if key.init != "imagenet":
            _write(_path(layout, key), arrays)


def load_stored_weights(layout: StudyLayout, wanted: Sequence[WeightsKey]) -> dict[WeightsKey, Arrays]:
    """Read those of the weights that ``store_weights`` wrote.

    Raises:
        WeightsError: a file is damaged.
    """
    weights: dict[WeightsKey, Arrays] = {}
    for key in wanted:
        path = _path(layout, key)
        if path.exists():
            try:
                weights[key] = load_file(path)
            except (OSError, SafetensorError) as error:
                raise WeightsError(
                    f"{path} must hold the weights of init {key.init}, but is damaged: {error}"
                ) from error
    return weights


def _write(path: Path, arrays: Arrays) -> None:
    # safetensors writes the memory as it is: arrays in another order than C would be read back scrambled.
    ordered = {name: np.array(array, order="C") for name, array in arrays.items()}
    write_atomic(path, lambda file: file.write(save(ordered)))


def _path(layout: StudyLayout, key: WeightsKey) -> Path:
    digest = hashlib.sha256(repr(tuple(key)).encode()).hexdigest()[:16]
    return layout.pretrained / f"{key.init.partition(':')[0]}-{key.family}-{key.depth}-{digest}.safetensors"
