"""The client for MLflow: imports it late, keeps it quiet and translates its errors."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import requests

from study.errors import TrackingError
from study.files import OutsideError
from study.records import DataSummary
from tracking.client.database import ensure_database, require_schema, sqlite_uri
from tracking.client.errors import (
    DeniedError,
    ExistsError,
    LostError,
    RateLimitedError,
    RefusedError,
    is_rate_limit,
    refuse_deleted,
    translate,
)
from tracking.client.http import proxy_note, retry_after_s
from tracking.content.encoding import displayable, storable
from tracking.content.mlflow_tags import DATA_CONTEXT, EXPERIMENT_TAGS
from tracking.content.tags_and_metrics import Batch
from tracking.moved_database import artifact_folder
from tracking.tracking_uri import is_server, mask_text, mask_uri, sqlite_path

_MAX_ENTRIES = 1000
_MAX_PARAMS = 100
_MAX_TAGS = 100
# Of a request's JSON, which MLflow refuses from a million on; everything but ASCII is escaped in it.
_MAX_CHARACTERS = 900_000
_POINT_OVERHEAD = 110
_TEXT_OVERHEAD = 25


def split_batch(batch: Batch) -> Iterator[Batch]:
    """Yield batches that together say the same, params and tags first; nothing for an empty one."""
    part, room = Batch(), _MAX_CHARACTERS
    for target, most in (("params", _MAX_PARAMS), ("tags", _MAX_TAGS)):
        for key, text in getattr(batch, target).items():
            size = len(json.dumps(key)) + len(json.dumps(text)) + _TEXT_OVERHEAD
            if size > room or len(getattr(part, target)) == most:
                yield part
                part, room = Batch(), _MAX_CHARACTERS
            getattr(part, target)[key] = text
            room -= size
    for point in batch.points:
        size = len(json.dumps(point.key)) + _POINT_OVERHEAD
        if size > room or len(part.points) + len(part.params) + len(part.tags) == _MAX_ENTRIES:
            yield part
            part, room = Batch(), _MAX_CHARACTERS
        part.points.append(point)
        room -= size
    if room < _MAX_CHARACTERS:
        yield part


def isolate_entries(batch: Batch) -> Iterator[Batch]:
    """Yield the params, the tags and the points of a batch apart, and each of several params or tags; else nothing."""
    kinds = [Batch(points=batch.points), Batch(params=batch.params), Batch(tags=batch.tags)]
    filled = [kind for kind in kinds if kind != Batch()]
    if len(filled) > 1:
        yield from filled
    elif len(batch.params) > 1:
        yield from (Batch(params={key: text}) for key, text in batch.params.items())
    elif len(batch.tags) > 1:
        yield from (Batch(tags={key: text}) for key, text in batch.tags.items())


_MAX_DIGEST_CHARACTERS = 36
_PAGE = 1000
_MAX_RUNS_OF_A_KEY = 10
_SERVER_WORKERS = 4
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_QUIET_LOGGERS = ("mlflow", "alembic", "huey", "sqlalchemy.engine")
# MLflow's own retries block for minutes and may create a run twice; what is acknowledged must have been written.
_FIXED_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
_DEFAULT_SETTINGS = {
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
    """A run on the server; ``metrics`` are the latest values, times are milliseconds since 1970."""

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

    A sqlite file is made if it does not exist, but with ``read_only`` it is refused and never written.

    ``mlflow`` is the package and ``api`` its client, for what has no method here; use them through ``call`` or inside
    ``translated``. ``answers`` counts the requests that succeeded.
    """

    def __init__(self, tracking_uri: str, *, read_only: bool = False) -> None:
        self._uri = tracking_uri
        self._is_server = is_server(tracking_uri)
        self.answers = 0
        with self.translated("cannot be opened"):
            self.mlflow = load_mlflow()
            require_schema(tracking_uri, to_read=read_only)
            ensure_database(tracking_uri, self.mlflow.MlflowClient)
            is_file = sqlite_path(tracking_uri) is not None
            self.api = self.mlflow.MlflowClient(
                sqlite_uri(tracking_uri, "ro") if read_only and is_file else tracking_uri
            )

    @property
    def concurrency(self) -> int:
        """How many requests to make at a time: as many as `mlflow server` has workers, one for a database."""
        return _SERVER_WORKERS if self._is_server else 1

    def local_path(self, location: str, name: str = "") -> Path | None:
        """Return the folder of this machine that an artifact's location names, or a file in it; None for a remote one.

        Raises:
            DeniedError: the database of a results folder names a place outside that.
        """
        try:
            return artifact_folder(self._uri, location, name)
        except OutsideError as exc:
            raise DeniedError(str(exc)) from exc

    def call(
        self, fault: str, function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Call a function of ``api``; one that fails is called once more, unless the server is slow or said no.

        Only for requests that have the same effect when they are made twice. ``fault`` says what could not be done.
        """
        try:
            with self.translated(fault):
                return function(*args, **kwargs)
        except TrackingError as exc:
            is_slow = isinstance(getattr(exc.__cause__, "__cause__", None), requests.Timeout)
            if is_slow or type(exc) is not TrackingError:
                raise
        with self.translated(fault):
            return function(*args, **kwargs)

    @contextlib.contextmanager
    def translated(self, fault: str) -> Iterator[None]:
        """Raise MLflow's errors as TrackingError, whose message says what could not be done."""
        try:
            yield
            self.answers += 1
        except (TrackingError, ExistsError):
            raise
        # MLflow lets the errors of its database, HTTP and storage libraries through as they are.
        except Exception as exc:
            message = f"MLflow at {mask_uri(self._uri)} {fault}: {mask_text(str(exc), self._uri)}"
            if self._is_server and is_rate_limit(exc):
                raise RateLimitedError(message, retry_after_s(self._uri)) from exc
            if self._is_server and not isinstance(exc, self.mlflow.exceptions.RestException):
                message += proxy_note(self._uri)
            raise translate(exc, message) from exc

    def find_experiment(self, name: str) -> Experiment | None:
        """Return the experiment of that name, deleted ones refused."""
        fault = f"cannot find experiment {name!r}"
        experiment = self.call(fault, self.api.get_experiment_by_name, displayable(name))
        if experiment is None:
            return None
        refuse_deleted(name, experiment.experiment_id, experiment.lifecycle_stage, self._uri)
        return Experiment(experiment.experiment_id, experiment.name, dict(experiment.tags))

    def ensure_experiment(self, name: str, artifact_location: str | None) -> Experiment:
        """Return the experiment of that name, created if need be; several callers at once all succeed."""
        experiment = self.find_experiment(name)
        if experiment is None:
            with contextlib.suppress(ExistsError), self.translated(f"cannot create experiment {name!r}"):
                self.api.create_experiment(displayable(name), artifact_location, dict(EXPERIMENT_TAGS))
            experiment = self.find_experiment(name)
        if experiment is None:
            raise LostError(f"MLflow created experiment {name!r} and does not know it")
        missing = {key: value for key, value in EXPERIMENT_TAGS.items() if key not in experiment.tags}
        self.tag_experiment(experiment.id, missing)
        return experiment

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        for key, value in tags.items():
            self.call(f"cannot tag experiment {experiment_id}", self.api.set_experiment_tag, experiment_id, key, value)

    def experiments(self) -> list[Experiment]:
        """Return every active experiment, the one changed last first."""
        experiments: list[Experiment] = []
        token = None
        while True:
            page = self.call(
                "cannot list experiments", self.api.search_experiments,
                max_results=_PAGE, page_token=token, order_by=["last_update_time DESC"],
            )  # fmt: skip
            experiments += [Experiment(entry.experiment_id, entry.name, dict(entry.tags)) for entry in page]
            if not (token := page.token):
                return experiments

    def search(
        self, experiments: Sequence[str], where: str, order: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Run]:
        """Yield runs page by page in the server's order, at most ``limit``."""
        token, left = None, limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            page = self.call(
                "cannot search runs", self.api.search_runs,
                list(experiments), where, max_results=size, order_by=list(order), page_token=token,
            )  # fmt: skip
            yield from map(run_of, page)
            left = None if left is None else left - len(page)
            if not (token := page.token):
                return

    def find_run(self, experiment_id: str, key: str) -> Run | None:
        """Return the run with that ``study.key``, the oldest if an outage made two."""
        return next(iter(self.find_runs(experiment_id, key)), None)

    def find_runs(self, experiment_id: str, key: str) -> list[Run]:
        """Return the runs with that ``study.key``, the oldest first; more than one if an answer came too late."""
        where = f"tags.`study.key` = '{key}'"
        return list(self.search([experiment_id], where, ["attributes.start_time ASC"], limit=_MAX_RUNS_OF_A_KEY))

    def create_run(self, experiment_id: str, name: str, start_ms: int, tags: Mapping[str, str]) -> Run:
        """Create a run."""
        texts = {key: displayable(value) for key, value in tags.items()}
        with self.translated(f"cannot create run {name!r}"):
            shown = displayable(name)
            return run_of(self.api.create_run(experiment_id, start_time=start_ms, tags=texts, run_name=shown))

    def log_batch(self, run_id: str, batch: Batch) -> None:
        """Log a batch, in one request unless MLflow's limits force more.

        Raises:
            RefusedError: the server will never take some of it; it has all the rest.
        """
        refusals = [text for part in split_batch(batch) for text in self._log_part(run_id, part)]
        if refusals:
            raise RefusedError("; ".join(dict.fromkeys(refusals)))

    def _log_part(self, run_id: str, batch: Batch) -> list[str]:
        """Log what fits a request, and if that is refused each kind of entry apart; return the errors of those."""
        entities = self.mlflow.entities
        metrics = [entities.Metric(point.key, point.value, point.time_ms, point.step) for point in batch.points]
        params = [entities.Param(key, value) for key, value in batch.params.items()]
        tags = [entities.RunTag(key, value) for key, value in batch.tags.items()]
        fault = f"cannot log to run {run_id}"
        try:
            self.call(fault, self.api.log_batch, run_id, metrics, params, tags, synchronous=True)
        except RefusedError as exc:
            parts = list(isolate_entries(batch))
            return [text for part in parts for text in self._log_part(run_id, part)] if parts else [str(exc)]
        return []

    def set_status(self, run_id: str, status: str, end_ms: int | None = None) -> None:
        """Set a run's status, with its end unless it is RUNNING."""
        fault = f"cannot set run {run_id} {status}"
        if end_ms is None:
            self.call(fault, self.api.update_run, run_id, status=status)
        else:
            self.call(fault, self.api.set_terminated, run_id, status, end_ms)

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
        inputs = [entities.DatasetInput(dataset, [entities.InputTag(DATA_CONTEXT, "training")])]
        self.call(f"cannot log the data of run {run_id}", self.api.log_inputs, run_id, datasets=inputs)

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Write a text artifact, replacing one of that name."""
        self.call(f"cannot write artifact {name} of run {run_id}", self.api.log_text, run_id, storable(text), name)

    def log_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Upload a file as an artifact of its own name, at the root of the artifacts or in a folder of them."""
        self.call(f"cannot upload {file} to run {run_id}", self.api.log_artifact, run_id, str(file), folder)

    def download(self, run_id: str, name: str, into: Path) -> Path:
        """Download an artifact below a folder and return its path."""
        fault = f"cannot download {name} of run {run_id}"
        return Path(self.call(fault, self.api.download_artifacts, run_id, name, str(into)))


def load_mlflow() -> Any:
    """Import MLflow, which takes seconds, with settings for a client that retries by itself."""
    os.environ.update(_FIXED_SETTINGS)
    for name, value in _DEFAULT_SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    import mlflow.entities

    # MLflow's own handlers write to the screen; whoever runs the program decides where its log goes.
    for logger in map(logging.getLogger, _QUIET_LOGGERS):
        logger.handlers, logger.propagate = [], True
    return mlflow


def run_of(entity: Any) -> Run:
    """Return a run of MLflow's client."""
    info, data = entity.info, entity.data
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
