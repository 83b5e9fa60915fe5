"""The files of a logged model: `MLmodel` and its environments, and how they and the weights reach the server."""

from __future__ import annotations

import json
import logging
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tracking.client.artifacts import link_file, writing
from tracking.client.client import TrackingClient

_log = logging.getLogger("tracking")

MLMODEL = "MLmodel"
CHECKPOINT_FOLDER, GRAPH_FOLDER = "checkpoint", "data"
GRAPH_FILE = "model.pt2"
PLAIN, WITH_GRAPH = "python_function", "python_function, pytorch"
_REQUIREMENTS, _CONDA, _PYTHON = "requirements.txt", "conda.yaml", "python_env.yaml"
_CHECKPOINT_PACKAGES = ("mlflow", "numpy", "ray-study", "safetensors", "torch", "torchvision")
_GRAPH_PACKAGES = ("mlflow", "numpy", "torch")


@dataclass(frozen=True)
class ModelDescription:
    """The contents of a model's small files.

    ``card`` is the stored form of the checkpoint's card; ``torch`` is the version that wrote the graph, None where
    there is none.
    """

    model_id: str
    run_id: str
    location: str
    card: Mapping[str, Any]
    bytes: int
    torch: str | None = None


def model_files(model: ModelDescription) -> dict[str, str]:
    """Return every small file by name, the one that makes it a model last."""
    requirements = _pinned(_GRAPH_PACKAGES if model.torch else _checkpoint_packages(model.card))
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": requirements}],
    }
    python = {
        "python": platform.python_version(),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": [f"-r {_REQUIREMENTS}"],
    }
    return {
        _REQUIREMENTS: "\n".join(requirements) + "\n",
        _CONDA: json.dumps(conda, indent=2) + "\n",  # JSON is YAML
        _PYTHON: json.dumps(python, indent=2) + "\n",
        MLMODEL: _mlmodel(model),
    }


def _mlmodel(model: ModelDescription) -> str:
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    card = model.card
    size, classes = card["preprocessing"]["image_size_px"], list(card["classes"])
    images = TensorSpec(np.dtype("uint8"), (-1, size, size, 3))
    scores = TensorSpec(np.dtype("float32"), (-1,) if len(classes) == 2 else (-1, len(classes)))
    contents = Model(
        artifact_path=model.location,
        run_id=model.run_id,
        model_id=model.model_id,
        model_uuid=model.model_id,
        model_size_bytes=model.bytes,
        signature=ModelSignature(Schema([images]), Schema([scores])),
        metadata={
            "classes": classes,
            "positive_class": classes[1] if len(classes) == 2 else None,
            "input": f"uint8 RGB [N, {size}, {size}, 3], 0 to 255; {card['preprocessing'].get('resize', 'square')}",
            "output": "scores in [0, 1], of the positive class or of every class in order",
            "epoch": card["epoch"],
            "precision": f"float32; its trial computed in {card.get('precision', 'fp32')}",
        },
    )
    environment = {"env": {"conda": _CONDA, "virtualenv": _PYTHON}, "python_version": platform.python_version()}
    if model.torch is None:
        contents.add_flavor(
            "python_function", loader_module="study.export.pyfunc", data=CHECKPOINT_FOLDER, **environment
        )
    else:
        # MLflow refuses to move a graph to the GPU that it would choose by itself where there is one.
        contents.add_flavor(
            "python_function", loader_module="mlflow.pytorch", data=GRAPH_FOLDER, model_config={"device": "cpu"},
            **environment,
        )  # fmt: skip
        contents.add_flavor("pytorch", model_data=GRAPH_FOLDER, pytorch_version=model.torch, code=None)
    return str(contents.to_yaml())


def _checkpoint_packages(card: Mapping[str, Any]) -> tuple[str, ...]:
    needs_timm = card.get("config", {}).get("family") == "resnet_v2"
    return (*_CHECKPOINT_PACKAGES, "timm") if needs_timm else _CHECKPOINT_PACKAGES


def _pinned(packages: tuple[str, ...]) -> list[str]:
    """Return the requirements that pin packages to the versions installed here, without local version labels."""
    pinned = []
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            pinned.append(f"{name}=={metadata.version(name).partition('+')[0]}")
    return pinned


def write_model_files(client: TrackingClient, model: ModelDescription) -> None:
    """Write the small files of a model.

    Raises:
        TrackingError: the store cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="ray-study-") as scratch:
        for name, text in model_files(model).items():
            file = Path(scratch) / name
            file.write_text(text, encoding="utf-8")
            put_file(client, model.model_id, model.location, file)


def put_file(client: TrackingClient, model_id: str, location: str, file: Path, folder: str = "") -> None:
    """Put a file into a folder of a model: by a hard link where its store is a local folder, else by an upload.

    Raises:
        TrackingError: the store cannot be written.
    """
    if (target := client.local_path(location, f"{folder}/{file.name}" if folder else file.name)) is None:
        fault = f"cannot upload {file} to model {model_id}"
        client.call(fault, client.api.log_model_artifact, model_id, str(file), folder or None)
        return
    with writing(file.name, f"model {model_id}"):
        link_file(file, target)


def remove_file(client: TrackingClient, location: str, name: str) -> None:
    """Delete a file of a model if its store can delete files."""
    try:
        if (target := client.local_path(location, name)) is not None:
            target.unlink(missing_ok=True)
            return
        # Undocumented: no public function of MLflow deletes a single file. `delete_logged_model` keeps all of them.
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store: Any = get_artifact_repository(location, tracking_uri=client.api.tracking_uri)
        store.delete_artifacts(name)
    except Exception as exc:  # MLflow's stores raise errors of many libraries
        _log.info("%s in %s was not deleted: %s", name, location, exc)
