"""Register a checkpoint as a version of a registered model, once, and point an alias at it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import TrackingError, UsageError
from study.events import TrialFinished
from study.paths import CARD, WEIGHTS, StudyLayout
from tracking.client.client import Run, TrackingClient
from tracking.content.run_names import study_key, trial_key
from tracking.models.description import (
    MODEL_CARD,
    SelectedCheckpoint,
    registered_text,
    run_link,
    version_tags,
    version_text,
)
from tracking.models.logged_models import FLAVORS, VERSIONS, LoggedModelInfo, LoggedModels, read_card
from tracking.models.model_files import (
    GRAPH_FILE,
    GRAPH_FOLDER,
    WITH_GRAPH,
    ModelDescription,
    put_file,
    write_model_files,
)
from tracking.moved_database import mend_locations
from tracking.outbox.study_state import StudyProgress, read_progress
from tracking.run_ids import load_runs_at
from tracking.tracking_uri import mask_uri

MAX_NAME_CHARACTERS = 250
_ALIAS = re.compile(r"[\w-]{1,250}", re.ASCII)
_RESERVED_ALIAS = re.compile(r"latest|v[0-9]+", re.IGNORECASE)
_MODEL_ID = "study.model_id"


@dataclass(frozen=True)
class Registered:
    """A version of a registered model; ``is_new`` says whether there was none of this checkpoint before."""

    name: str
    version: str
    alias: str
    model_id: str
    run_id: str
    tracking_uri: str
    is_new: bool

    @property
    def uri(self) -> str:
        """The URI by which MLflow loads it."""
        return f"models:/{self.name}@{self.alias}"


def require_names(name: str, alias: str) -> None:
    """Check the name of a registered model and its alias by MLflow's rules.

    Raises:
        UsageError: MLflow would refuse one of them.
    """
    plain = (
        name.strip()
        and name == name.strip()
        and not any(character in name for character in "/:")
        and name not in (".", "..")
    )
    if not plain or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise UsageError(
            f"--register needs a name of 1 to {MAX_NAME_CHARACTERS} characters without '/' and ':' and without spaces "
            f"around it, but got {name!r}"
        )
    if not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise UsageError(
            f"--alias needs letters, digits, '_' and '-', and `latest` and `v1`, `v2`, ... are MLflow's own, "
            f"but got {alias!r}"
        )


def register(
    study: StudyLayout,
    tracking_uri: str,
    name: str,
    alias: str,
    choice: SelectedCheckpoint,
    weights: Callable[[], Path],
    export: Callable[[Path, Path], str],
) -> Registered:
    """Register a trial's checkpoint and point an alias at that version; the model of the name is made if need be.

    ``weights`` returns the checkpoint's folder with its weights, and is called only if the server does not have all.
    ``export`` writes the graph of a checkpoint into a file and returns the version of torch that wrote it.

    Raises:
        TrackingError: the server is away or does not know the trial.
        StudyError: whatever ``weights`` and ``export`` raise.
    """
    require_names(name, alias)
    mend_locations(tracking_uri)
    client, progress = TrackingClient(tracking_uri), read_progress(study.outbox, whole_records=True)
    event = progress.finish_event(choice.trial)
    known = load_runs_at(study.runs, mask_uri(tracking_uri)).experiment_id
    run = None if event is None else _find_run(client, progress, choice.trial, known)
    if event is None or run is None or progress.study is None:
        raise TrackingError(
            f"A trial's run must be known to MLflow at {mask_uri(tracking_uri)} before its model, but that of trial "
            f"{choice.trial} is not; `{study.command('sync')}` sends it, once the trial has ended"
        )
    models = LoggedModels(client, run.experiment_id, progress.study.study_id)
    model = _self_contained(client, models, event, run, progress, weights, export)
    if choice.card:
        _put_card(client, model, choice.card)
    tags = version_tags(choice, progress) | {_MODEL_ID: model.id}
    parent = client.find_run(run.experiment_id, study_key(progress.study.study_id))
    text = version_text(choice, event.record, progress.study, run, parent)
    _ensure_registered(client, name)
    version, is_new = _ensure_version(client, name, model, run, tags, text)
    with client.translated(f"cannot set the alias {alias!r} of {name!r}"):
        client.api.set_registered_model_alias(name, alias, version)
    return Registered(name, version, alias, model.id, run.id, mask_uri(tracking_uri), is_new)


def _find_run(client: TrackingClient, progress: StudyProgress, trial: int, known: str | None) -> Run | None:
    """Return a trial's run, in the experiment of the study's name or in the one known from before it was renamed."""
    assert progress.study is not None
    experiment = client.find_experiment(progress.study.study)
    key = trial_key(progress.study.study_id, trial)
    places = dict.fromkeys(place for place in (experiment and experiment.id, known) if place)
    return next((run for place in places if (run := client.find_run(place, key)) is not None), None)


def _self_contained(
    client: TrackingClient,
    models: LoggedModels,
    event: TrialFinished,
    run: Run,
    progress: StudyProgress,
    weights: Callable[[], Path],
    export: Callable[[Path, Path], str],
) -> LoggedModelInfo:
    """Return the trial's logged model, with a graph in it that loads without this package."""
    known = next(iter(models.find().get(event.record.trial, ())), None)
    if known is not None and known.ready and known.tags.get(FLAVORS) == WITH_GRAPH:
        return known
    checkpoint = weights()
    model = models.ensure(known, event, run, progress, checkpoint)
    # Beside the model where that is a folder of this machine: then the graph is moved by a link and not copied.
    place = client.local_path(model.location)
    with tempfile.TemporaryDirectory(prefix=".graph-", dir=place and place.parent) as scratch:
        graph = Path(scratch) / GRAPH_FILE
        torch = export(checkpoint, graph)
        size = graph.stat().st_size + sum((checkpoint / name).stat().st_size for name in (WEIGHTS, CARD))
        put_file(client, model.id, model.location, graph, GRAPH_FOLDER)
    card = read_card(checkpoint)
    write_model_files(client, ModelDescription(model.id, run.id, model.location, card, size, torch))
    with client.translated(f"cannot tag model {model.id}"):
        client.api.set_logged_model_tags(model.id, {FLAVORS: WITH_GRAPH})
    return model


def _put_card(client: TrackingClient, model: LoggedModelInfo, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ray-study-") as scratch:
        file = Path(scratch) / MODEL_CARD
        file.write_text(text, encoding="utf-8")
        put_file(client, model.id, model.location, file)


def _ensure_registered(client: TrackingClient, name: str) -> None:
    with client.translated(f"cannot make the registered model {name!r}"):
        try:
            client.api.get_registered_model(name)
        except client.mlflow.MlflowException as exc:
            if exc.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            try:
                client.api.create_registered_model(name, {"study.kind": "model"}, registered_text())
            except client.mlflow.MlflowException as raced:
                if raced.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise


def _ensure_version(
    client: TrackingClient, name: str, model: LoggedModelInfo, run: Run, tags: Mapping[str, str], text: str
) -> tuple[str, bool]:
    """Return the version of a model, with these tags and text, and whether it was made now."""
    api = client.api
    with client.translated(f"cannot make a version of {name!r}"):
        of_run = api.search_model_versions(f"run_id = '{run.id}'")
        known = [version for version in of_run if version.name == name and version.tags.get(_MODEL_ID) == model.id]
        if known:
            oldest = min(known, key=lambda version: int(version.version))
            api.update_model_version(name, oldest.version, text)
            for key, value in tags.items():
                if oldest.tags.get(key) != value:
                    api.set_model_version_tag(name, oldest.version, key, value)
            _note_version(api, model, name, str(oldest.version))
            return str(oldest.version), False
        link = run_link(api.tracking_uri, run)
        # Without a server MLflow would look for a model by its id in whatever database is this process's default.
        source = model.location if link is None else f"models:/{model.id}"
        new = api.create_model_version(name, source, run.id, dict(tags), link, text, model_id=model.id)
        _note_version(api, model, name, str(new.version))
        return str(new.version), True


def _note_version(api: Any, model: LoggedModelInfo, name: str, version: str) -> None:
    """Note the registered version in the model's own tag, as MLflow's `log_model` does."""
    noted = json.loads(model.tags.get(VERSIONS) or "[]")
    own = {"name": name, "version": int(version)}
    if all((entry["name"], str(entry["version"])) != (name, version) for entry in noted):
        api.set_logged_model_tags(model.id, {VERSIONS: json.dumps([*noted, own])})
