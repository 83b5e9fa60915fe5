"""Keep the parent run of one study: what it says, what files it has, how it ends."""

from __future__ import annotations

import json
from dataclasses import asdict

from study.events import StudyEnded, StudyStarted
from study.layout import StudyLayout
from study.records import StudyOutcome
from tracking.record.progress import Progress
from tracking.sending.registry import Registry
from tracking.sending.tidying import end_running
from tracking.server.artifacts import store_file, store_text
from tracking.server.door import Door, Run
from tracking.server.refusals import unless_refused
from tracking.telling import content
from tracking.telling.content import Batch
from tracking.telling.leaderboard import CSV, TABLE, as_csv, as_table, leaderboard, table_tag
from tracking.telling.story import description
from tracking.telling.view import run_path, study_views

_ENDED = {
    StudyOutcome.FINISHED: "FINISHED",
    StudyOutcome.STOPPED: "KILLED",
    StudyOutcome.INTERRUPTED: "KILLED",
    StudyOutcome.FAILED: "FAILED",
}


class ParentRun:
    """The run of a study, above those of its trials; every method may be called again with the same."""

    def __init__(self, door: Door, study: StudyLayout, registry: Registry) -> None:
        self._door = door
        self._layout = study
        self._registry = registry

    def begin(self, event: StudyStarted, progress: Progress, location: str | None) -> None:
        """Say that the study begins or goes on; ``location`` is where a new experiment keeps its artifacts."""
        tags = content.study_tags(event, progress.provenance)
        run, created = self._registry.open_parent(event, location, tags)
        if not created:
            end_running(self._door, self._registry, event, event.at_s)
            unless_refused(self._door.set_status, run.id, "RUNNING")
        # A resumed study may ask for more trials, but MLflow never changes a param: the first value stays, tags follow.
        params = {key: text for key, text in content.study_params(event).items() if key not in run.params}
        tags |= content.session_tags(progress.provenance, again=event.resumed) | self.note(progress)
        unless_refused(self._door.send, run.id, Batch(params=params, tags=tags))
        unless_refused(self._door.log_dataset, run.id, event.data)
        unless_refused(self._door.tag_experiment, run.experiment_id, study_views(event.spec, event.at_s))
        self._store_files(run, event, progress)

    def note(self, progress: Progress) -> dict[str, str]:
        """Return the description as a tag; it links to the runs by addresses that hold on every page of MLflow."""
        experiment_id = self._registry.parent(progress.study).experiment_id

        def place(trial: int) -> str | None:
            run_id = self._registry.run_id(trial)
            return None if run_id is None else run_path(experiment_id, run_id).removeprefix("/")

        return {"mlflow.note.content": description(progress, place)}

    def end(self, event: StudyEnded, progress: Progress) -> None:
        """Say how the study ended, with the ranking of its trials; nothing of it stays RUNNING."""
        run, study = self._registry.parent(progress.study), progress.study
        assert study is not None
        end_running(self._door, self._registry, study, event.at_s)
        tags = content.end_tags(event) | self.note(progress) | self._store_leaderboard(run, progress)
        unless_refused(self._door.send, run.id, Batch(tags=tags))
        unless_refused(self._door.set_status, run.id, _ENDED[event.outcome], content.time_ms(event.at_s))

    def _store_leaderboard(self, run: Run, progress: Progress) -> dict[str, str]:
        """Store the ranking and return the tag that makes MLflow show it as a table."""
        lines = leaderboard(progress, self._registry.run_id)
        if not lines[1]:
            return {}
        unless_refused(store_text, self._door, run, as_table(lines), TABLE)
        unless_refused(store_text, self._door, run, as_csv(lines), CSV)
        return table_tag(run.tags)

    def _store_files(self, run: Run, event: StudyStarted, progress: Progress) -> None:
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
                unless_refused(store_text, self._door, run, text, name)
        if origin is not None and origin.diff:
            changes = self._layout.code_diff(origin.diff)
            unless_refused(store_file, self._door, run, changes, changes.name)
