"""Export the parent run of a study: tags, params, files, leaderboard and status."""

from __future__ import annotations

import json
from dataclasses import asdict

from study.events import StudyEnded, StudyStarted
from study.paths import StudyLayout
from study.records import StudyOutcome
from tracking.client.artifacts import store_file, store_text
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import log_if_rejected
from tracking.content import tags_and_metrics as content
from tracking.content.description import description
from tracking.content.leaderboard import CSV, TABLE, as_csv, as_table, leaderboard, table_tag
from tracking.content.mlflow_tags import NOTE, PARENT
from tracking.content.run_names import study_key, trial_key
from tracking.content.tags_and_metrics import INTERRUPTED, Batch, time_ms
from tracking.content.ui_views import run_path, study_views
from tracking.exporter.run_registry import RunRegistry
from tracking.outbox.study_state import StudyProgress

DUPLICATE = "duplicate"


def end_running_trials(client: TrackingClient, registry: RunRegistry, study: StudyStarted, at_s: float) -> None:
    """Mark the trials that were left RUNNING; the next TrialStarted makes them run again.

    A run that an outage made twice is marked as a duplicate; that of a trial nests below the one that is used.
    """
    parent = registry.parent(study)
    where = f"tags.`study.id` = '{study_key(study.study_id)}' and attributes.status = 'RUNNING'"
    for run in list(client.search([parent.experiment_id], where)):
        if run.id == parent.id:
            continue
        used = _used_run_id(client, registry, study, run)
        tags = {"study.state": INTERRUPTED} if used == run.id else _duplicate_tags(run, used)
        log_if_rejected(client.log_batch, run.id, Batch(tags=tags))
        log_if_rejected(client.set_status, run.id, "KILLED", time_ms(at_s))


def _used_run_id(client: TrackingClient, registry: RunRegistry, study: StudyStarted, run: Run) -> str:
    """Return the id of the run in use for the study or trial that this one was created for."""
    trial = run.tags.get("study.trial")
    if trial is None:
        return registry.parent(study).id
    run_ids = [entry.id for entry in client.find_runs(run.experiment_id, trial_key(study.study_id, int(trial)))]
    known = registry.run_id(int(trial))
    return known if known in run_ids else run_ids[0] if run_ids else run.id


def _duplicate_tags(run: Run, used: str) -> dict[str, str]:
    below = {PARENT: used} if "study.trial" in run.tags else {}
    return {"study.state": INTERRUPTED, "study.kind": DUPLICATE, "study.duplicate_of": used, **below}


_STATUS = {
    StudyOutcome.FINISHED: "FINISHED",
    StudyOutcome.STOPPED: "KILLED",
    StudyOutcome.INTERRUPTED: "KILLED",
    StudyOutcome.FAILED: "FAILED",
}


class StudyRunWriter:
    """The run of a study, above those of its trials; every method may be called again with the same."""

    def __init__(self, client: TrackingClient, study: StudyLayout, registry: RunRegistry) -> None:
        self._client = client
        self._layout = study
        self._registry = registry

    def begin(self, event: StudyStarted, progress: StudyProgress, location: str | None) -> None:
        """Export the start or resumption of the study; ``location`` is where a new experiment keeps its artifacts."""
        tags = content.study_tags(event, progress.provenance)
        run, created = self._registry.open_parent(event, location, tags)
        if not created:
            end_running_trials(self._client, self._registry, event, event.at_s)
            log_if_rejected(self._client.set_status, run.id, "RUNNING")
        # A resumed study may ask for more trials, but MLflow never changes a param: the first value stays, tags follow.
        params = {key: text for key, text in content.study_params(event).items() if key not in run.params}
        tags |= content.session_tags(progress.provenance, again=event.resumed) | self.note_tag(progress)
        log_if_rejected(self._client.log_batch, run.id, Batch(params=params, tags=tags))
        log_if_rejected(self._client.log_dataset, run.id, event.data)
        log_if_rejected(self._client.tag_experiment, run.experiment_id, study_views(event.spec, event.at_s))
        self._store_files(run, event, progress)

    def note_tag(self, progress: StudyProgress) -> dict[str, str]:
        """Return the description as a tag; it links to the runs by addresses that hold on every page of MLflow."""
        experiment_id = self._registry.parent(progress.study).experiment_id

        def run_address(trial: int) -> str | None:
            run_id = self._registry.run_id(trial)
            return None if run_id is None else run_path(experiment_id, run_id).removeprefix("/")

        return {NOTE: description(progress, run_address)}

    def end(self, event: StudyEnded, progress: StudyProgress) -> None:
        """Export the end of the study with the ranking of its trials; no run of it stays RUNNING."""
        run, study = self._registry.parent(progress.study), progress.study
        assert study is not None
        end_running_trials(self._client, self._registry, study, event.at_s)
        tags = content.end_tags(event) | self.note_tag(progress) | self._store_leaderboard(run, progress)
        log_if_rejected(self._client.log_batch, run.id, Batch(tags=tags))
        log_if_rejected(self._client.set_status, run.id, _STATUS[event.outcome], content.time_ms(event.at_s))

    def _store_leaderboard(self, run: Run, progress: StudyProgress) -> dict[str, str]:
        """Store the ranking and return the tag that makes MLflow show it as a table."""
        lines = leaderboard(progress, self._registry.run_id)
        if not lines[1]:
            return {}
        log_if_rejected(store_text, self._client, run, as_table(lines), TABLE)
        log_if_rejected(store_text, self._client, run, as_csv(lines), CSV)
        return table_tag(run.tags)

    def _store_files(self, run: Run, event: StudyStarted, progress: StudyProgress) -> None:
        file, origin = self._layout.study_file, progress.provenance
        texts = {
            "study.yaml": file.read_text(encoding="utf-8") if file.exists() else event.study_file,
            "design.md": event.design,
        }
        if origin is not None:
            facts = {**asdict(origin), "device": event.device, "slots": event.slots}
            texts["environment.json"] = json.dumps(facts, indent=1)
        for name, text in texts.items():
            if text:
                log_if_rejected(store_text, self._client, run, text, name)
        if origin is not None and origin.diff:
            changes = self._layout.code_diff(origin.diff)
            log_if_rejected(store_file, self._client, run, changes)
