"""A study in a results folder and in that folder's MLflow, and what the commands say of it from either."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reading_kit import begin
from typer.testing import CliRunner, Result

from cli.main import app
from study.analysis.ranking import rank_trials
from study.config.study_config import StudySpec
from study.events import EpochReported, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.paths import Layout, StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, StudyOutcome, TrialRecord, TrialState
from study.storage.study_storage import StudyStorage
from tracking.exporter.recorder import OutboxRecorder
from tracking.tracking_uri import default_tracking_uri

DATA = DataSummary(
    "faces", "f" * 64, 32, ("no", "yes"), {"train": 60, "val": 400}, {"val": {"no": 200, "yes": 200}}
)  # fmt: skip
Values = Callable[[TrialRecord], Mapping[str, float]]


class TwoPlaces:
    """A study that is told to a storage and to MLflow alike.

    ``values`` gives a trial's metrics; ``dropped`` are the trials whose weights are deleted at the end, ``failing``
    those that fail after their epoch.
    """

    def __init__(
        self, results: Path, name: str, values: Values, dropped: tuple[int, ...] = (), failing: tuple[int, ...] = (),
        **spec: Any,
    ) -> None:  # fmt: skip
        self.layout: StudyLayout = Layout(results).study(name)
        self.storage: StudyStorage = begin(self.layout, data=DATA, **spec)
        self._recorder: OutboxRecorder = OutboxRecorder(
            self.layout, default_tracking_uri(Layout(results), None), close_timeout_s=3600.0
        )
        self._values, self._dropped, self._failing = values, dropped, failing

    def run(self, *, resumed: bool = False) -> None:
        """Run every trial there is to run, and end."""
        told, storage = self._recorder.record, self.storage
        told(
            StudyStarted(
                storage.name, storage.study_id, storage.spec, "name: x\n", DATA, resumed, 0, 1, "cpu", (), time.time(),
                storage.planned,
            )
        )  # fmt: skip
        while (assignment := storage.ask()) is not None:
            self._run_one(assignment.record)
        storage.note_dropped(self._dropped)
        storage.note_end()
        rows = rank_trials(storage.records(), [storage.spec.objective])
        kept = tuple(row.record.trial for row in rows if row.rank and row.record.kept)
        told(
            StudyEnded(storage.name, StudyOutcome.FINISHED, rows[0].record, {"COMPLETE": 1}, time.time(), kept=kept)
        )  # fmt: skip

    def extend(self, spec: StudySpec) -> None:
        """Go on with a spec of more."""
        self.storage.extend(spec)
        self.run(resumed=True)

    def close(self) -> None:
        """Wait until MLflow has everything."""
        self._recorder.close()

    def _run_one(self, begun: TrialRecord) -> None:
        number, metrics = begun.trial, EpochMetrics(1, self._values(begun))
        self._recorder.record(TrialStarted(begun, 1, time.time()))
        folder = self.layout.trial(number) / "epoch-0001"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"w")
        (folder / "checkpoint.json").write_text(
            json.dumps({"epoch": 1, "classes": ["no", "yes"], "preprocessing": {"image_size_px": 32}})
        )
        (folder / "validation.npz").write_bytes(b"s")
        self.storage.report(number, metrics, str(folder), 1.5)
        value = metrics.values[self.storage.spec.objective.metric]
        self._recorder.record(EpochReported(self.storage.name, number, metrics, value, 1, time.time()))
        fails = number in self._failing
        state, reason = (TrialState.FAILED, StopReason.ERROR) if fails else (TrialState.COMPLETE, StopReason.FINISHED)
        ended = self.storage.tell(number, state, reason, error="RuntimeError: boom" if fails else None)
        self._recorder.record(TrialFinished(ended, time.time()))


def said(results: Path, *words: str, served: bool) -> Result:
    """Return what a command says, of MLflow if ``served``, else of the results folder."""
    where = ("--tracking-uri", default_tracking_uri(Layout(results), None)) if served else ("--results", str(results))
    return CliRunner().invoke(app, [*words, *where], env={"COLUMNS": "250"})


def both(results: Path, *words: str) -> tuple[Result, Result]:
    """Return what a command says of the results folder, and of MLflow."""
    return said(results, *words, served=False), said(results, *words, served=True)


def told(result: Result) -> Any:
    """Return the JSON that a command printed."""
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)
