"""Put files into a logged model's folder, by hard link where it lies on the same file system, and get them back."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.errors import TrackingError
from study.layout import WEIGHTS
from tracking.models.mlmodel import CHECKPOINT_FOLDER
from tracking.server.artifacts import link_file
from tracking.server.door import Door
from tracking.uri import local_path

_log = logging.getLogger("tracking")


def put_texts(door: Door, model_id: str, location: str, texts: Mapping[str, str]) -> None:
    """Write small files at the root of a model's folder, each after those before it are there."""
    with tempfile.TemporaryDirectory(prefix="ray-study-") as scratch:
        for name, text in texts.items():
            file = Path(scratch) / name
            file.write_text(text, encoding="utf-8")
            put_file(door, model_id, location, file)


def put_file(door: Door, model_id: str, location: str, file: Path, folder: str = "") -> None:
    """Put a file into a folder of a model, whole.

    Raises:
        TrackingError: the store cannot be written.
    """
    if (target := local_path(location)) is None:
        with door.translated(f"cannot upload {file} to model {model_id}"):
            door.client.log_model_artifact(model_id, str(file), folder or None)
        return
    try:
        link_file(file, target / folder / file.name)
    except OSError as exc:
        raise TrackingError(f"The file {file.name} of model {model_id} cannot be written: {exc}") from exc


def fetch_weights(door: Door, run_id: str, folder: Path) -> Path:
    """Put the weights of a run's checkpoint into a folder, if the server has them as a model, and return the folder.

    Raises:
        TrackingError: the server is away or does not know the run.
    """
    with door.translated(f"cannot download the weights of run {run_id}"):
        outputs = door.client.get_run(run_id).outputs
        for output in () if outputs is None else outputs.model_outputs:
            try:
                model = door.client.get_logged_model(output.model_id)
            except door.mlflow.MlflowException as exc:
                if exc.error_code != "RESOURCE_DOES_NOT_EXIST":  # the run goes on naming a model that is deleted
                    raise
                continue
            if model.status.value == "READY":
                weights = f"{model.artifact_location}/{CHECKPOINT_FOLDER}/{WEIGHTS}"
                door.mlflow.artifacts.download_artifacts(
                    weights, dst_path=str(folder), tracking_uri=door.client.tracking_uri
                )
    return folder


def remove_file(door: Door, location: str, name: str) -> None:
    """Delete a file of a model where its store lets us."""
    try:
        if (target := local_path(location)) is not None:
            (target / name).unlink(missing_ok=True)
            return
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store: Any = get_artifact_repository(location, tracking_uri=door.client.tracking_uri)
        store.delete_artifacts(name)
    except Exception as exc:  # MLflow's stores raise errors of many libraries
        _log.info("%s in %s was not deleted: %s", name, location, exc)
