"""Keep the checkpoints a study stands for as MLflow's logged models, each of them once."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from study.errors import StorageError, TrackingError
from study.events import StudyEnded, StudyStarted, TrialFinished
from study.paths import CARD, WEIGHTS, StudyLayout, is_uri
from study.utils.remote_files import download_checkpoint
from tracking.client.artifacts import link_file
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import RefusedError, log_if_rejected
from tracking.content import tags_and_metrics as content
from tracking.content.encoding import storable
from tracking.models.mlmodel import CHECKPOINT_FOLDER, PLAIN, ModelDescription, model_files
from tracking.outbox.provenance import Provenance
from tracking.outbox.study_state import OutboxSummary, read_outbox_summary
from tracking.tracking_uri import local_path

_log = logging.getLogger("tracking")


def put_texts(client: TrackingClient, model_id: str, location: str, texts: Mapping[str, str]) -> None:
    """Write small files at the root of a model's folder, each after those before it are there."""
    with tempfile.TemporaryDirectory(prefix="ray-study-") as scratch:
        for name, text in texts.items():
            file = Path(scratch) / name
            file.write_text(text, encoding="utf-8")
            put_file(client, model_id, location, file)


def put_file(client: TrackingClient, model_id: str, location: str, file: Path, folder: str = "") -> None:
    """Put a file into a folder of a model, whole.

    Raises:
        TrackingError: the store cannot be written.
    """
    if (target := local_path(location)) is None:
        with client.translated(f"cannot upload {file} to model {model_id}"):
            client.api.log_model_artifact(model_id, str(file), folder or None)
        return
    try:
        link_file(file, target / folder / file.name)
    except OSError as exc:
        raise TrackingError(f"The file {file.name} of model {model_id} cannot be written: {exc}") from exc


def fetch_weights(client: TrackingClient, run_id: str, folder: Path) -> Path:
    """Put the weights of a run's checkpoint into a folder, if the server has them as a model, and return the folder.

    Raises:
        TrackingError: the server is away or does not know the run.
    """
    with client.translated(f"cannot download the weights of run {run_id}"):
        outputs = client.api.get_run(run_id).outputs
        for output in () if outputs is None else outputs.model_outputs:
            try:
                model = client.api.get_logged_model(output.model_id)
            except client.mlflow.MlflowException as exc:
                if exc.error_code != "RESOURCE_DOES_NOT_EXIST":  # the run goes on naming a model that is deleted
                    raise
                continue
            if model.status.value == "READY":
                weights = f"{model.artifact_location}/{CHECKPOINT_FOLDER}/{WEIGHTS}"
                client.mlflow.artifacts.download_artifacts(
                    weights, dst_path=str(folder), tracking_uri=client.api.tracking_uri
                )
    return folder


def remove_file(client: TrackingClient, location: str, name: str) -> None:
    """Delete a file of a model where its store lets us."""
    try:
        if (target := local_path(location)) is not None:
            (target / name).unlink(missing_ok=True)
            return
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        store: Any = get_artifact_repository(location, tracking_uri=client.api.tracking_uri)
        store.delete_artifacts(name)
    except Exception as exc:  # MLflow's stores raise errors of many libraries
        _log.info("%s in %s was not deleted: %s", name, location, exc)


MAX_MODELS = 100
MODEL_TYPE = "image classifier"
FLAVORS, KEPT, VERSIONS = "study.flavors", "study.kept", "mlflow.modelVersions"
_DIGEST_CHARACTERS = 36
_PAGE = 50
_PACKAGES = ("mlflow", "numpy", "ray-study", "safetensors", "timm", "torch", "torchvision")


@dataclass(frozen=True)
class LoggedModelInfo:
    """A logged model as the server tells it."""

    id: str
    trial: int
    location: str
    ready: bool
    at_ms: int
    tags: Mapping[str, str]

    @property
    def is_registered(self) -> bool:
        """Whether somebody made it a version of a registered model."""
        return bool(json.loads(self.tags.get(VERSIONS) or "[]"))


class LoggedModels:
    """The logged models of one study on one server; only the server's answer decides whether one exists."""

    def __init__(self, client: TrackingClient, experiment_id: str, study_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._study = content.study_key(study_id)

    def find(self) -> dict[int, list[LoggedModelInfo]]:
        """Return the models by trial, of several the one to keep first: an outage may have made two.

        Raises:
            RefusedError: the server is older than MLflow 3, which brought models.
        """
        found: dict[int, list[LoggedModelInfo]] = {}
        with self._client.translated("cannot search models"):
            try:
                for one in self._pages():
                    found.setdefault(one.trial, []).append(one)
            except self._client.mlflow.MlflowException as exc:
                if exc.error_code != "ENDPOINT_NOT_FOUND":
                    raise
                raise RefusedError("Checkpoints become models from MLflow 3 on, but this server is older") from exc
        # A model that somebody registered must not be the one that goes.
        return {
            trial: sorted(group, key=lambda one: (not one.is_registered, not one.ready, one.at_ms))
            for trial, group in found.items()
        }

    def _pages(self) -> Iterator[LoggedModelInfo]:
        token = None
        while True:
            page = self._client.api.search_logged_models(
                [self._experiment_id], f"tags.`study.id` = '{self._study}'", max_results=_PAGE, page_token=token
            )
            yield from (_made(one) for one in page if "study.trial" in one.tags)
            if not (token := page.token):
                return

    def ensure(
        self, known: LoggedModelInfo | None, event: TrialFinished, run: Run, told: OutboxSummary, checkpoint: Path
    ) -> LoggedModelInfo:
        """Return the model of a trial's selected checkpoint, made or completed if need be.

        Args:
            known: The model the server has.
            event: How the trial ended.
            run: Of the trial.
            told: The study the trial belongs to.
            checkpoint: Its folder; without weights in it the model stays pending.

        Raises:
            RefusedError: the checkpoint's card cannot be read.
        """
        if known is not None and known.ready:
            return known
        assert told.study is not None
        card = read_card(checkpoint)
        model = known or self._create(event, run, told.study, told.provenance)
        self._link_run(model, run)
        self._log_metrics(model, event, run, told.study)
        has_weights = (checkpoint / WEIGHTS).is_file()
        if has_weights:
            put_file(self._client, model.id, model.location, checkpoint / WEIGHTS, CHECKPOINT_FOLDER)
        put_file(self._client, model.id, model.location, checkpoint / CARD, CHECKPOINT_FOLDER)
        size = sum((checkpoint / name).stat().st_size for name in (WEIGHTS, CARD) if (checkpoint / name).exists())
        put_texts(self._client, model.id, model.location, model_files(described(model, run, card, size)))
        if not has_weights:
            return model
        with self._client.translated(f"cannot finish model {model.id}"):
            self._client.api.finalize_logged_model(model.id, "READY")
        return model

    def retire(self, model: LoggedModelInfo) -> None:
        """Take a model off the list whose checkpoint the study no longer stands for; a registered one stays as it is.

        MLflow's deletion is soft: nothing finds or loads the model any more, `mlflow gc` removes what is left of it.
        Its weights go at once, because the study deleted its own to have the space.
        """
        if model.is_registered:
            with self._client.translated(f"cannot tag model {model.id}"):
                self._client.api.set_logged_model_tags(model.id, {KEPT: "false"})
            return
        remove_file(self._client, model.location, f"{CHECKPOINT_FOLDER}/{WEIGHTS}")
        with self._client.translated(f"cannot delete model {model.id}"):
            self._client.api.delete_logged_model(model.id)

    def _create(
        self, event: TrialFinished, run: Run, study: StudyStarted, origin: Provenance | None
    ) -> LoggedModelInfo:
        record = event.record
        tags = content.trial_tags(record, record.attempts, study, origin) | {
            "study.state": record.state.value,
            "study.epoch": str(record.epoch),
            FLAVORS: PLAIN,
            KEPT: "true",
        }
        own = {key: storable(text) for key, text in tags.items() if not key.startswith("mlflow.")}
        params = {key: storable(text) for key, text in content.trial_params(record).items()}
        with self._client.translated(f"cannot create the model of trial {record.trial}"):
            return _made(
                self._client.api.create_logged_model(self._experiment_id, run.name, run.id, own, params, MODEL_TYPE)
            )

    def _link_run(self, model: LoggedModelInfo, run: Run) -> None:
        api, entities = self._client.api, self._client.mlflow.entities
        with self._client.translated(f"cannot link model {model.id} with run {run.id}"):
            outputs = api.get_run(run.id).outputs
            if outputs is None or all(one.model_id != model.id for one in outputs.model_outputs):
                api.log_outputs(run.id, [entities.LoggedModelOutput(model.id, 0)])

    def _log_metrics(self, model: LoggedModelInfo, event: TrialFinished, run: Run, study: StudyStarted) -> None:
        """Give the model the metrics of its epoch; the run has the very same points, so it gets none twice."""
        entities, digest = self._client.mlflow.entities, study.data.fingerprint[:_DIGEST_CHARACTERS]
        # the columns of MLflow's table come in this order
        columns = {f"best.{objective.metric}" for objective in study.spec.objective_list}
        metrics = [
            entities.Metric(
                one.key, one.value, one.time_ms, one.step,
                model_id=model.id, dataset_name=study.data.source, dataset_digest=digest, run_id=run.id,
            )
            for one in sorted(content.finish_points(event), key=lambda one: one.key not in columns)
        ]  # fmt: skip
        with self._client.translated(f"cannot log the metrics of model {model.id}"):
            self._client.api.log_batch(run.id, metrics, synchronous=True)


def keep_models(
    client: TrackingClient, layout: StudyLayout, experiment_id: str, ended: StudyEnded, run_of: Callable[[int], Run]
) -> None:
    """Make the logged models what a study's end says: one for each kept trial, none for others.

    An end that a later one in the outbox has made obsolete is passed over: its models may be gone, or others be there.

    Args:
        client: Where they are.
        layout: The study's.
        experiment_id: The study's.
        ended: The end.
        run_of: Finds the run of a trial.

    Raises:
        TrackingError: not everything was done; do it again.
    """
    told = read_outbox_summary(layout.outbox)
    if told.study is None or told.ended is None or told.ended.at_s > ended.at_s:
        return
    models = LoggedModels(client, experiment_id, told.study.study_id)
    try:
        known = models.find()
    except RefusedError as exc:
        _log.error("%s", exc)
        return
    for trial, group in known.items():
        for model in group if trial not in told.kept else group[1:]:
            models.retire(model)
    if len(told.kept) > MAX_MODELS:
        _log.info("of %d kept checkpoints the best %d are MLflow models", len(told.kept), MAX_MODELS)
    # The best last: MLflow's table of models begins with the newest.
    for trial in reversed(told.kept[:MAX_MODELS]):
        event, first = told.finished.get(trial), next(iter(known.get(trial, ())), None)
        if event is None or event.record.checkpoint is None or (first is not None and first.ready):
            continue
        checkpoint = _whole(layout.local_checkpoint(trial, event.record.checkpoint), event.record.checkpoint)
        if first is None and not checkpoint.is_dir():
            _log.warning("trial %d: its checkpoint %s is gone and is no MLflow model", trial, checkpoint)
        else:
            log_if_rejected(_ensure, models, first, event, run_of(trial), told, checkpoint)


def _ensure(
    models: LoggedModels,
    known: LoggedModelInfo | None,
    event: TrialFinished,
    run: Run,
    told: OutboxSummary,
    checkpoint: Path,
) -> None:
    models.ensure(known, event, run, told, checkpoint)


def _whole(near: Path, checkpoint: str) -> Path:
    """Return a checkpoint with its weights: what is near, or, of one that lies in a storage, a copy."""
    if not is_uri(checkpoint) or (near / WEIGHTS).exists():
        return near
    try:
        return download_checkpoint(checkpoint)
    except (StorageError, OSError) as exc:
        _log.warning("the weights of %s cannot be read now, so its model waits for them: %s", checkpoint, exc)
        return near


def described(
    model: LoggedModelInfo, run: Run, card: Mapping[str, Any], size: int, torch: str | None = None
) -> ModelDescription:
    """Return what a model's files say."""
    return ModelDescription(model.id, run.id, model.location, card, _versions(), time.time(), size, torch)


def read_card(checkpoint: Path) -> dict[str, Any]:
    """Read what a checkpoint says of itself, as far as an MLflow model needs it.

    Raises:
        RefusedError: it says too little.
    """
    try:
        card = json.loads((checkpoint / CARD).read_text(encoding="utf-8"))
        if isinstance(card, dict) and card["classes"] and card["epoch"] and card["preprocessing"]["image_size_px"]:
            return card
        raise ValueError("it says nothing of its images")
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise RefusedError(
            f"A model needs its checkpoint's card, but {checkpoint / CARD} cannot be used: {exc}"
        ) from exc


def _made(model: Any) -> LoggedModelInfo:
    tags = dict(model.tags)
    return LoggedModelInfo(
        id=model.model_id,
        trial=int(tags["study.trial"]),
        location=model.artifact_location,
        ready=str(model.status.value) == "READY",
        at_ms=model.creation_timestamp,
        tags=tags,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
