"""Everything MLflow tells of a study, without what differs from server to server: ids, addresses, times of writing."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracking_backends import Backend

    from tracking.client.client import Run

_UNSTABLE_TAGS = ("mlflow.log-model.history", "mlflow.parentRunId")
_MODEL_ID = re.compile(r"\bm-[0-9a-f]{32}\b")
_ADDRESS = re.compile(r"https?://[\w.:-]+")
_WRITTEN = re.compile(r"(utc_time_created|last_updated_timestamp|creation_timestamp).*")


def snapshot(backend: Backend) -> dict[str, Any]:
    """Return runs by name with their status, params, tags, metric histories, data and artifacts.

    No key may be there twice, but in runs that are marked as duplicates.
    """
    client = backend.client()
    experiment = client.find_experiment(backend.name)
    assert experiment is not None
    runs = [run for run in client.search([experiment.id], "") if run.tags["study.kind"] != "duplicate"]
    keys = [run.tags["study.key"] for run in runs]
    assert len(set(keys)) == len(keys), f"two runs have the same key: {sorted(keys)}"
    names = {run.id: run.name for run in runs} | {experiment.id: "experiment"}
    return {run.name: _tell(backend, run, names) for run in runs} | {
        "experiment": {key: _plain(value, names) for key, value in experiment.tags.items()}
    }


def _tell(backend: Backend, run: Run, names: dict[str, str]) -> dict[str, Any]:
    inputs = backend.client().api.get_run(run.id).inputs.dataset_inputs
    return {
        "status": run.status,
        "times": (run.start_ms, run.end_ms),
        "parent": names.get(run.tags.get("mlflow.parentRunId", "")),
        "params": dict(run.params),
        "tags": {key: _plain(text, names) for key, text in run.tags.items() if key not in _UNSTABLE_TAGS},
        "metrics": {metric: sorted(backend.history(run, metric), key=repr) for metric in run.metrics},
        "data": [(used.dataset.name, used.dataset.digest, used.dataset.profile) for used in inputs],
        "artifacts": _files(backend, run, names),
    }


def _files(backend: Backend, run: Run, names: dict[str, str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = backend.client().download(run.id, "", Path(scratch))
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(folder)): _plain(path.read_bytes().decode("utf-8", "backslashreplace"), names)
            for path in paths
        }


def _plain(text: str, names: dict[str, str]) -> str:
    for known, name in names.items():
        if len(known) > 4:  # an experiment's number may be part of anything
            text = text.replace(known, f"<{name}>")
    text = re.sub(r"/experiments/\d+", "/experiments/<experiment>", text)
    return _WRITTEN.sub("<written>", _ADDRESS.sub("<address>", _MODEL_ID.sub("<model>", text)))
