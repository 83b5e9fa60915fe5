"""The checkpoints that a study keeps, as MLflow's logged models, each of them once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import StorageError
from study.events import StudyEnded, StudyStarted, TrialFinished
from study.files import OutsideError
from study.paths import CARD, WEIGHTS, StudyLayout, is_uri
from study.utils.named_places import checkpoint_folder, is_in_named_place
from study.utils.remote_files import download_checkpoint
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import RefusedError, log_if_rejected
from tracking.content import tags_and_metrics as content
from tracking.content.encoding import displayable
from tracking.content.run_names import study_key
from tracking.models.model_files import (
    CHECKPOINT_FOLDER,
    PLAIN,
    ModelDescription,
    put_file,
    remove_file,
    write_model_files,
)
from tracking.outbox.provenance import Provenance
from tracking.outbox.study_state import StudyProgress, read_progress

_log = logging.getLogger("tracking")

MAX_MODELS = 100
MODEL_TYPE = "image classifier"
FLAVORS, KEPT = "study.flavors", "study.kept"
VERSIONS = "mlflow.modelVersions"
"""MLflow's own tag of a logged model, undocumented: as what it is registered. MLflow sets it in `log_model` alone."""
_DIGEST_CHARACTERS = 36
_PAGE = 50


@dataclass(frozen=True)
class LoggedModelInfo:
    """A logged model on the server."""

    id: str
    trial: int
    location: str
    ready: bool
    at_ms: int
    tags: Mapping[str, str]

    @property
    def is_registered(self) -> bool:
        """Whether it is a version of a registered model."""
        return bool(json.loads(self.tags.get(VERSIONS) or "[]"))


class LoggedModels:
    """The logged models of one study on one server."""

    def __init__(self, client: TrackingClient, experiment_id: str, study_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._study = study_key(study_id)

    def find(self) -> dict[int, list[LoggedModelInfo]]:
        """Return the models by trial; where an outage has made several of a trial, the one to keep comes first.

        Raises:
            RefusedError: the server is older than MLflow 3, which brought models.
        """
        models: dict[int, list[LoggedModelInfo]] = {}
        with self._client.translated("cannot search models"):
            try:
                for model in self._pages():
                    models.setdefault(model.trial, []).append(model)
            except self._client.mlflow.MlflowException as exc:
                if exc.error_code != "ENDPOINT_NOT_FOUND":
                    raise
                raise RefusedError("Checkpoints become models from MLflow 3 on, but this server is older") from exc
        # A registered model must not be the one that is deleted.
        return {
            trial: sorted(group, key=lambda model: (not model.is_registered, not model.ready, model.at_ms))
            for trial, group in models.items()
        }

    def _pages(self) -> Iterator[LoggedModelInfo]:
        token = None
        while True:
            page = self._client.api.search_logged_models(
                [self._experiment_id], f"tags.`study.id` = '{self._study}'", max_results=_PAGE, page_token=token
            )
            yield from (_model_info(model) for model in page if "study.trial" in model.tags)
            if not (token := page.token):
                return

    def ensure(
        self, known: LoggedModelInfo | None, event: TrialFinished, run: Run, summary: StudyProgress, checkpoint: Path
    ) -> LoggedModelInfo:
        """Return the model of a trial's selected checkpoint, made or completed if need be.

        Without weights in the folder of the checkpoint it stays pending.

        Raises:
            RefusedError: the checkpoint's card cannot be read.
        """
        if known is not None and known.ready:
            return known
        assert summary.study is not None
        card = read_card(checkpoint)
        model = known or self._create(event, run, summary.study, summary.provenance)
        self._link_run(model, run)
        self._log_metrics(model, event, run, summary.study)
        has_weights = (checkpoint / WEIGHTS).is_file()
        if has_weights:
            put_file(self._client, model.id, model.location, checkpoint / WEIGHTS, CHECKPOINT_FOLDER)
        put_file(self._client, model.id, model.location, checkpoint / CARD, CHECKPOINT_FOLDER)
        size = sum((checkpoint / name).stat().st_size for name in (WEIGHTS, CARD) if (checkpoint / name).exists())
        write_model_files(self._client, ModelDescription(model.id, run.id, model.location, card, size))
        if not has_weights:
            return model
        self._client.call(f"cannot finish model {model.id}", self._client.api.finalize_logged_model, model.id, "READY")
        return model

    def retire(self, model: LoggedModelInfo) -> None:
        """Delete a model whose checkpoint the study no longer keeps; a registered one is only marked.

        MLflow's deletion is soft: the model can no longer be found or loaded, and `mlflow gc` removes its files later.
        Its weights are deleted at once, since the study has deleted its own to free the space.
        """
        if model.is_registered:
            fault = f"cannot tag model {model.id}"
            self._client.call(fault, self._client.api.set_logged_model_tags, model.id, {KEPT: "false"})
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
        own = {key: displayable(text) for key, text in tags.items() if not key.startswith("mlflow.")}
        params = {key: displayable(text) for key, text in content.trial_params(record).items()}
        with self._client.translated(f"cannot create the model of trial {record.trial}"):
            return _model_info(
                self._client.api.create_logged_model(self._experiment_id, run.name, run.id, own, params, MODEL_TYPE)
            )

    def _link_run(self, model: LoggedModelInfo, run: Run) -> None:
        api, entities = self._client.api, self._client.mlflow.entities
        with self._client.translated(f"cannot link model {model.id} with run {run.id}"):
            outputs = api.get_run(run.id).outputs
            if outputs is None or all(output.model_id != model.id for output in outputs.model_outputs):
                api.log_outputs(run.id, [entities.LoggedModelOutput(model.id, 0)])

    def _log_metrics(self, model: LoggedModelInfo, event: TrialFinished, run: Run, study: StudyStarted) -> None:
        """Log the metrics of the model's epoch; the run has the same points already and does not get them twice."""
        entities, digest = self._client.mlflow.entities, study.data.fingerprint[:_DIGEST_CHARACTERS]
        # the columns of MLflow's table come in this order
        columns = {f"best.{objective.metric}" for objective in study.spec.objective_list}
        metrics = [
            entities.Metric(
                point.key, point.value, point.time_ms, point.step,
                model_id=model.id, dataset_name=study.data.source, dataset_digest=digest, run_id=run.id,
            )
            for point in sorted(content.finish_points(event), key=lambda point: point.key not in columns)
        ]  # fmt: skip
        fault = f"cannot log the metrics of model {model.id}"
        self._client.call(fault, self._client.api.log_batch, run.id, metrics, synchronous=True)


def keep_models(
    client: TrackingClient, layout: StudyLayout, experiment_id: str, ended: StudyEnded, run_of: Callable[[int], Run]
) -> None:
    """Create the logged models of the trials that a study has kept, and retire all others.

    Does nothing for an end that is not the last one in the outbox.

    Raises:
        TrackingError: not everything was done; do it again.
    """
    summary = read_progress(layout.outbox, whole_records=True)
    if summary.study is None or summary.ending is None or summary.ending.at_s > ended.at_s:
        return
    models = LoggedModels(client, experiment_id, summary.study.study_id)
    try:
        known = models.find()
    except RefusedError as exc:
        _log.error("%s", exc)
        return
    for trial, group in known.items():
        for model in group if trial not in summary.kept else group[1:]:
            models.retire(model)
    if len(summary.kept) > MAX_MODELS:
        _log.info("of %d kept checkpoints the best %d are MLflow models", len(summary.kept), MAX_MODELS)
    # The best last: MLflow's table of models begins with the newest.
    for trial in reversed(summary.kept[:MAX_MODELS]):
        event, first = summary.finish_event(trial), next(iter(known.get(trial, ())), None)
        if event is None or event.record.checkpoint is None or (first is not None and first.ready):
            continue
        try:
            checkpoint = _with_weights(layout, trial, event.record.checkpoint)
        except OutsideError as exc:
            _log.error("trial %d: %s; it is no MLflow model", trial, exc)
            continue
        if first is None and not checkpoint.is_dir():
            _log.warning("trial %d: its checkpoint %s is gone and is no MLflow model", trial, checkpoint)
        else:
            log_if_rejected(models.ensure, first, event, run_of(trial), summary, checkpoint)


def _with_weights(layout: StudyLayout, trial: int, checkpoint: str) -> Path:
    """Return the local folder of a checkpoint, with a copy of its weights where they are in a remote storage.

    Raises:
        OutsideError: it is neither in the results folder nor in a storage that the user named.
    """
    near = checkpoint_folder(layout, trial, checkpoint)
    if not is_uri(checkpoint) or not is_in_named_place(layout.results, checkpoint) or (near / WEIGHTS).exists():
        return near
    try:
        return download_checkpoint(checkpoint)
    except (StorageError, OSError) as exc:
        _log.warning("the weights of %s cannot be read now, so its model waits for them: %s", checkpoint, exc)
        return near


def read_card(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's card and check that it has what an MLflow model needs.

    Raises:
        RefusedError: it cannot be read or lacks something.
    """
    try:
        card = json.loads((checkpoint / CARD).read_text(encoding="utf-8"))
        if isinstance(card, dict) and card["classes"] and card["epoch"] and card["preprocessing"]["image_size_px"]:
            return card
        raise ValueError("it does not describe its images")
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise RefusedError(
            f"A model needs its checkpoint's card, but {checkpoint / CARD} cannot be used: {exc}"
        ) from exc


def _model_info(model: Any) -> LoggedModelInfo:
    tags = dict(model.tags)
    return LoggedModelInfo(
        id=model.model_id,
        trial=int(tags["study.trial"]),
        location=model.artifact_location,
        ready=str(model.status.value) == "READY",
        at_ms=model.creation_timestamp,
        tags=tags,
    )
