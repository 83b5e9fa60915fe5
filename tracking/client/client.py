"""The client for MLflow: imports it late, keeps it quiet and translates its errors."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from study.errors import TrackingError
from study.records import DataSummary
from tracking.client.database import ensure_database
from tracking.client.errors import (
    ExistsError,
    refuse_deleted,
    translate,
)
from tracking.client.errors import (
    LostError as LostError,
)
from tracking.client.errors import (
    RefusedError as RefusedError,
)
from tracking.client.retry import configure_retries, teach_quickness
from tracking.content.encoding import storable
from tracking.content.tags_and_metrics import Batch
from tracking.tracking_uri import mask_text, mask_uri

_MOST_ITEMS = 1000
_MOST_PARAMS = 100
_MOST_TAGS = 100
# Of a request's JSON, which MLflow refuses from a million on; everything but ASCII is escaped in it.
_MOST_CHARACTERS = 900_000
_AROUND_A_POINT = 110
_AROUND_A_TEXT = 25


def split_batch(batch: Batch) -> Iterator[Batch]:
    """Yield batches that together say the same, params and tags first; nothing for an empty one."""
    parcel, room = Batch(), _MOST_CHARACTERS
    for target, most in (("params", _MOST_PARAMS), ("tags", _MOST_TAGS)):
        for key, text in getattr(batch, target).items():
            size = len(json.dumps(key)) + len(json.dumps(text)) + _AROUND_A_TEXT
            if size > room or len(getattr(parcel, target)) == most:
                yield parcel
                parcel, room = Batch(), _MOST_CHARACTERS
            getattr(parcel, target)[key] = text
            room -= size
    for point in batch.points:
        size = len(json.dumps(point.key)) + _AROUND_A_POINT
        if size > room or len(parcel.points) + len(parcel.params) + len(parcel.tags) == _MOST_ITEMS:
            yield parcel
            parcel, room = Batch(), _MOST_CHARACTERS
        parcel.points.append(point)
        room -= size
    if room < _MOST_CHARACTERS:
        yield parcel


def isolate_entries(batch: Batch) -> Iterator[Batch]:
    """Yield the params, the tags and the points of a batch apart, and each of several params or tags; else nothing."""
    kinds = [Batch(points=batch.points), Batch(params=batch.params), Batch(tags=batch.tags)]
    there = [one for one in kinds if one != Batch()]
    if len(there) > 1:
        yield from there
    elif len(batch.params) > 1:
        yield from (Batch(params={key: text}) for key, text in batch.params.items())
    elif len(batch.tags) > 1:
        yield from (Batch(tags={key: text}) for key, text in batch.tags.items())


def log_batch(mlflow: Any, client: Any, run_id: str, batch: Batch) -> None:
    """Log a batch that is within MLflow's limits, in one request."""
    if (call := _rest_call(client)) is not None:
        call(as_json(run_id, batch))
        return
    entities = mlflow.entities
    points = [entities.Metric(one.key, one.value, one.time_ms, one.step) for one in batch.points]
    params = [entities.Param(key, value) for key, value in batch.params.items()]
    tags = [entities.RunTag(key, value) for key, value in batch.tags.items()]
    client.log_batch(run_id, points, params, tags, synchronous=True)


def as_json(run_id: str, batch: Batch) -> str:
    """Return the body of MLflow's log-batch request; numbers that are not finite are strings in it."""
    body = {
        "run_id": run_id,
        "metrics": [
            {"key": one.key, "value": one.value, "timestamp": one.time_ms, "step": one.step} for one in batch.points
        ],
        "params": [{"key": key, "value": value} for key, value in batch.params.items()],
        "tags": [{"key": key, "value": value} for key, value in batch.tags.items()],
    }
    return to_json(body, inf_nan_mode="strings").decode()


def _rest_call(client: Any) -> Any:
    """Return what sends a body to a server, None for a database or an MLflow that is different inside."""
    try:
        from mlflow.protos.service_pb2 import LogBatch
        from mlflow.store.tracking.rest_store import RestStore

        store = client._tracking_client.store
        if type(store).log_batch is not RestStore.log_batch:
            return None
        call = store._call_endpoint
    except (ImportError, AttributeError):
        return None
    return lambda body: call(LogBatch, body)


_MAX_DIGEST_CHARACTERS = 36
_PAGE = 1000
_MOST_OF_A_KEY = 10
_QUIET_LOGGERS = ("mlflow", "alembic", "huey", "sqlalchemy.engine")
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
# Retries are the writer's: MLflow's own block for minutes and may create a run twice. What is acknowledged is there.
_LAWS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True)
class Experiment:
    """An experiment by its id."""

    id: str
    name: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A run as the server tells it; ``metrics`` are the latest values, times are milliseconds since 1970."""

    id: str
    name: str
    experiment_id: str
    status: str
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start_ms: int
    end_ms: int | None


class TrackingClient:
    """An MLflow server or database; every method raises TrackingError and nothing else for MLflow's faults.

    ``mlflow`` is the package and ``client`` its client, for those who do more than runs need; ``translated`` around
    every use of them.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        with self.translated("cannot be opened"):
            self.mlflow = _load_mlflow()
            if not tracking_uri.startswith(("http://", "https://")):
                _forbid_retries()
            ensure_database(tracking_uri, self.mlflow.MlflowClient)
            self.api = self.mlflow.MlflowClient(tracking_uri)

    def find_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of that name, deleted ones refused."""
        with self.translated(f"cannot find experiment {name!r}"):
            found = self.api.get_experiment_by_name(name)
        if found is None:
            return None
        refuse_deleted(name, found.experiment_id, found.lifecycle_stage)
        return Experiment(found.experiment_id, found.name, dict(found.tags))

    def ensure_experiment(self, name: str, artifact_location: str | None) -> Experiment:
        """Return the experiment of that name, created if need be; several callers at once all succeed."""
        found = self.find_experiment(name)
        if found is None:
            with contextlib.suppress(ExistsError), self.translated(f"cannot create experiment {name!r}"):
                self.api.create_experiment(name, artifact_location=artifact_location, tags=dict(_EXPERIMENT_TAGS))
            found = self.find_experiment(name)
        if found is None:
            raise LostError(f"MLflow created experiment {name!r} and does not know it")
        missing = {key: value for key, value in _EXPERIMENT_TAGS.items() if key not in found.tags}
        self.tag_experiment(found.id, missing)
        return found

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        with self.translated(f"cannot tag experiment {experiment_id}"):
            for key, value in tags.items():
                self.api.set_experiment_tag(experiment_id, key, value)

    def experiments(self) -> list[Experiment]:
        """Return every active experiment, the one changed last first."""
        found: list[Experiment] = []
        token = None
        with self.translated("cannot list experiments"):
            while True:
                page = self.api.search_experiments(
                    max_results=_PAGE, page_token=token, order_by=["last_update_time DESC"]
                )
                found += [Experiment(one.experiment_id, one.name, dict(one.tags)) for one in page]
                if not (token := page.token):
                    return found

    def search(
        self, experiments: Sequence[str], where: str, order: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Run]:
        """Yield runs page by page in the server's order, at most ``limit``."""
        token, left = None, limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            with self.translated("cannot search runs"):
                page = self.api.search_runs(
                    list(experiments), where, max_results=size, order_by=list(order), page_token=token
                )
            yield from (run_of(one) for one in page)
            left = None if left is None else left - len(page)
            if not (token := page.token):
                return

    def find_run(self, experiment_id: str, key: str) -> Run | None:
        """Return the run with that ``study.key``, the eldest if an outage made two."""
        return next(iter(self.find_runs(experiment_id, key)), None)

    def find_runs(self, experiment_id: str, key: str) -> list[Run]:
        """Return the runs with that ``study.key``, the eldest first; more than one if an answer came too late."""
        where = f"tags.`study.key` = '{key}'"
        return list(self.search([experiment_id], where, ["attributes.start_time ASC"], limit=_MOST_OF_A_KEY))

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> Run:
        """Create a run."""
        with self.translated(f"cannot create run {name!r}"):
            words = {key: storable(value) for key, value in tags.items()}
            made = self.api.create_run(experiment_id, start_time=start_ms, tags=words, run_name=storable(name))
        return run_of(made)

    def send(self, run_id: str, batch: Batch) -> None:
        """Log a batch, in one request unless MLflow's limits force more.

        Raises:
            RefusedError: the server will never take some of it; it has all the rest.
        """
        refused = [word for one in split_batch(batch) for word in self._send_parcel(run_id, one)]
        if refused:
            raise RefusedError("; ".join(dict.fromkeys(refused)))

    def _send_parcel(self, run_id: str, parcel: Batch) -> list[str]:
        """Send a parcel, and of one that is refused each kind of thing apart; return what the server said to those."""
        try:
            with self.translated(f"cannot log to run {run_id}"):
                log_batch(self.mlflow, self.api, run_id, parcel)
        except RefusedError as exc:
            parts = list(isolate_entries(parcel))
            return [word for one in parts for word in self._send_parcel(run_id, one)] if parts else [str(exc)]
        return []

    def set_status(self, run_id: str, status: str, end_ms: int | None = None) -> None:
        """Set a run's status, with its end unless it is RUNNING."""
        with self.translated(f"cannot set run {run_id} {status}"):
            if end_ms is None:
                self.api.update_run(run_id, status=status)
            else:
                self.api.set_terminated(run_id, status, end_ms)

    def log_dataset(self, run_id: str, data: DataSummary) -> None:
        """Log the data as an input of the run; again changes nothing."""
        entities = self.mlflow.entities
        dataset = entities.Dataset(
            name=data.source,
            digest=data.fingerprint[:_MAX_DIGEST_CHARACTERS],
            source_type="local",
            source=json.dumps({"source": data.source, "fingerprint": data.fingerprint}),
            profile=json.dumps({"image_size_px": data.image_size_px, "sizes": dict(data.sizes)}),
        )
        tags = [entities.InputTag("mlflow.data.context", "training")]
        with self.translated(f"cannot log the data of run {run_id}"):
            self.api.log_inputs(run_id, datasets=[entities.DatasetInput(dataset, tags)])

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Write a text artifact, replacing one of that name."""
        with self.translated(f"cannot write artifact {name} of run {run_id}"):
            self.api.log_text(run_id, storable(text), name)

    def log_file(self, run_id: str, file: Path) -> None:
        """Upload a file as an artifact of its own name."""
        with self.translated(f"cannot upload {file} to run {run_id}"):
            self.api.log_artifact(run_id, str(file))

    def log_folder(self, run_id: str, name: str, folder: Path) -> None:
        """Upload a folder as an artifact."""
        with self.translated(f"cannot upload {folder} to run {run_id}"):
            self.api.log_artifacts(run_id, str(folder), name)

    def download(self, run_id: str, name: str, into: Path) -> Path:
        """Download an artifact below a folder and return where it lies."""
        with self.translated(f"cannot download {name} of run {run_id}"):
            return Path(self.api.download_artifacts(run_id, name, str(into)))

    @contextlib.contextmanager
    def translated(self, fault: str) -> Iterator[None]:
        """Let MLflow's errors out as TrackingError, whose message says what could not be done."""
        try:
            yield
        except (TrackingError, ExistsError):
            raise
        # MLflow lets the errors of its database, HTTP and storage libraries through as they are.
        except Exception as exc:
            message = f"MLflow at {mask_uri(self._uri)} {fault}: {mask_text(str(exc), self._uri)}"
            raise translate(exc, message) from exc


def _load_mlflow() -> Any:
    os.environ.update(_LAWS)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    import mlflow.entities

    configure_retries()
    teach_quickness()
    # MLflow's own handlers write to the screen; whoever runs the program decides where its log goes.
    for logger in map(logging.getLogger, _QUIET_LOGGERS):
        logger.handlers, logger.propagate = [], True
    return mlflow


def _forbid_retries() -> None:
    """Keep MLflow from trying a database that is away for a minute and a half."""
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 1


def run_of(found: Any) -> Run:
    """Return a run as MLflow's client gives it."""
    info, data = found.info, found.data
    return Run(
        id=info.run_id,
        name=info.run_name,
        experiment_id=info.experiment_id,
        status=info.status,
        artifact_uri=info.artifact_uri,
        tags=dict(data.tags),
        params=dict(data.params),
        metrics=dict(data.metrics),
        start_ms=info.start_time,
        end_ms=info.end_time,
    )
