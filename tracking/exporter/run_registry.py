"""Find or create the run of a study or a trial by its key, and keep the ids in the study's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from study.events import StudyStarted
from study.records import TrialRecord
from tracking.client.client import Run, TrackingClient
from tracking.client.errors import LostError
from tracking.content import tags_and_metrics as content
from tracking.content.mlflow_tags import PARENT
from tracking.content.run_names import study_key, trial_key, trial_run_name
from tracking.outbox.study_state import StudyProgress
from tracking.run_ids import Runs, load_runs_at, save_runs


class RunRegistry:
    """The runs of one study on one server; only the server's answer decides whether a run exists."""

    def __init__(self, client: TrackingClient, path: Path, masked_uri: str) -> None:
        self._client = client
        self._path = path
        self._parent: Run | None = None
        self._open: dict[int, Run] = {}
        self._saved = load_runs_at(path, masked_uri)
        self._trials = dict(self._saved.trials)

    def open_parent(self, event: StudyStarted, location: str | None, tags: Mapping[str, str]) -> tuple[Run, bool]:
        """Return the study's run, and whether it was created now."""
        if self._client.find_experiment(event.study) is None and (known := self._find_renamed(event)) is not None:
            self._parent = known
            return known, False
        experiment = self._client.ensure_experiment(event.study, location)
        known = self._find(experiment.id, study_key(event.study_id), self._saved.parent)
        start = content.time_ms(event.at_s)
        self._parent = known or self._client.create_run(experiment.id, event.study, start, tags)
        return self._parent, known is None

    def find_parent(self, study: StudyStarted | None) -> Run | None:
        """Return the study's run if the server has it."""
        if self._parent is None and study is not None:
            experiment = self._client.find_experiment(study.study)
            key = study_key(study.study_id)
            run = None if experiment is None else self._find(experiment.id, key, self._saved.parent)
            self._parent = run or self._find_renamed(study)
        return self._parent

    def parent(self, study: StudyStarted | None) -> Run:
        """Return the study's run.

        Raises:
            LostError: the server has it no longer, or the outbox does not begin with StudyStarted.
        """
        if (run := self.find_parent(study)) is None:
            raise LostError("MLflow must have the study's run before its trials, but does not know it")
        return run

    def open_trial(self, record: TrialRecord, attempt: int, at_s: float, progress: StudyProgress) -> tuple[Run, bool]:
        """Return a trial's run, and whether it was created now."""
        study, parent = progress.study, self.parent(progress.study)
        assert study is not None
        if run := self._find_trial(study, record.trial):
            return run, False
        tags = content.trial_tags(record, attempt, study, progress.provenance)
        start = content.time_ms(record.started_at_s or at_s)
        child = {**tags, PARENT: parent.id}
        run = self._client.create_run(parent.experiment_id, trial_run_name(record.trial), start, child)
        self._remember(record.trial, run)
        return run, True

    def trial(self, study: StudyStarted | None, trial: int) -> Run:
        """Return the run of a trial that was opened.

        Raises:
            LostError: the server has it no longer.
        """
        if study is None or (run := self._find_trial(study, trial)) is None:
            raise LostError(f"MLflow must have the run of trial {trial} before its metrics, but does not know it")
        return run

    def run_id(self, trial: int) -> str | None:
        """Return the id of a trial's run if it is known, without asking the server."""
        return self._trials.get(trial)

    def release(self, trial: int) -> None:
        """Drop what is needed only while a trial runs."""
        self._open.pop(trial, None)

    def save(self) -> None:
        """Write the ids to disk if they changed."""
        parent = self._parent
        if parent is None or not self._path.parent.is_dir():  # somebody may have deleted the study
            return
        now = Runs(self._saved.tracking_uri, parent.experiment_id, parent.id, dict(sorted(self._trials.items())))
        if now != self._saved:
            save_runs(self._path, now)
            self._saved = now

    def _find_renamed(self, study: StudyStarted) -> Run | None:
        """Return the study's run in the experiment where it was, whatever the study is called now."""
        known = self._saved.experiment_id
        return None if known is None else self._find(known, study_key(study.study_id), self._saved.parent)

    def _find(self, experiment_id: str, key: str, known: str | None) -> Run | None:
        """Return the run with a key; where a late answer made two, the one known before, else the oldest."""
        runs = self._client.find_runs(experiment_id, key)
        return next((run for run in runs if run.id == known), runs[0] if runs else None)

    def _find_trial(self, study: StudyStarted, trial: int) -> Run | None:
        if trial not in self._open:
            experiment_id = self.parent(study).experiment_id
            run = self._find(experiment_id, trial_key(study.study_id, trial), self._trials.get(trial))
            if run is None:
                return None
            self._remember(trial, run)
        return self._open[trial]

    def _remember(self, trial: int, run: Run) -> None:
        self._open[trial] = run
        self._trials[trial] = run.id
