"""Read studies and trials back from MLflow, ordered by the server and never more than asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from study.errors import TrackingError
from study.hyperparameters import Scalar
from study.records import StopReason, StudySummary, TrialRecord, TrialState
from study.spec import Mode
from tracking.artifacts import CHECKPOINT
from tracking.content import INTERRUPTED
from tracking.door import Door, Experiment, Run
from tracking.uri import local_path, mask_uri

_STUDIES = "tags.`study.kind` = 'study'"
_NEWEST_FIRST = ("attributes.start_time DESC",)
_OLDEST_FIRST = ("attributes.start_time ASC",)
_BEST = "best."
_LISTED_NAMES = 20


def studies(tracking_uri: str) -> list[StudySummary]:
    """Return every study the server knows, the newest first.

    Raises:
        TrackingError: the server is away.
    """
    door = Door(tracking_uri)
    ids = [one.id for one in door.experiments()]
    return [_summary(door, run) for run in door.search(ids, _STUDIES, _NEWEST_FIRST)] if ids else []


def trials(
    tracking_uri: str, study: str, metric: str | None = None, mode: Mode | None = None, top: int | None = None
) -> list[TrialRecord]:
    """Return trials of the newest study of a name, without their epochs.

    Args:
        tracking_uri: The server or database.
        study: The study's name.
        metric: Order by its value at the selected epoch, trials without one last; None orders by start.
        mode: Whether more or less is better; None means the study's own for its objective, else more.
        top: How many at most; None means all.

    Raises:
        TrackingError: the server is away or does not know the study.
    """
    door = Door(tracking_uri)
    parent = _newest(door, tracking_uri, study)
    objective = parent.params.get("study.metric", "")
    order: tuple[str, ...] = _OLDEST_FIRST
    if metric is not None:
        own = parent.params.get("study.mode") if metric == objective else None
        word = "ASC" if (mode or own) == "min" else "DESC"
        order = (f"metrics.`{_BEST}{metric}` {word}", *_OLDEST_FIRST)
    where = f"tags.`mlflow.parentRunId` = '{parent.id}'"
    return [_record(run, study, objective) for run in door.search([parent.experiment_id], where, order, top)]


def fetch_checkpoint(tracking_uri: str, run_id: str, into: Path) -> Path:
    """Download a run's checkpoint below a folder and return where it lies.

    Raises:
        TrackingError: the server is away, or the run has no checkpoint.
    """
    return Door(tracking_uri).download(run_id, CHECKPOINT, into)


def _newest(door: Door, tracking_uri: str, study: str) -> Run:
    experiment = door.find_experiment(study)
    runs: Iterator[Run] = iter(())
    if experiment is not None:
        runs = door.search([experiment.id], _STUDIES, _NEWEST_FIRST, limit=1)
    if (found := next(runs, None)) is None:
        raise TrackingError(
            f"A study must be known to MLflow at {mask_uri(tracking_uri)} to be read, but {study!r} is not; "
            f"there are: {_names(door.experiments())}"
        )
    return found


def _names(experiments: list[Experiment]) -> str:
    names = [one.name for one in experiments if one.id != "0"]
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(names[:_LISTED_NAMES]) + more if names else "none"


def _summary(door: Door, run: Run) -> StudySummary:
    metric = run.params.get("study.metric", "")
    running = _count_running(door, run) if run.status == "RUNNING" else 0
    ended = [int(run.metrics.get(f"trials.{word}", 0)) for word in ("complete", "pruned", "failed")]
    return StudySummary(
        name=run.tags.get("study.name", ""),
        state=run.tags.get("study.state", ""),
        trials=max(int(run.metrics.get("trials.started", 0)), sum(ended) + running),
        complete=ended[0],
        pruned=ended[1],
        failed=ended[2],
        running=running,
        planned=int(run.tags.get("study.planned", 0)),
        metric=metric,
        mode=cast(Mode, run.params.get("study.mode", "max")),
        best=run.metrics.get(_BEST + metric),
        created_at_s=run.start_ms / 1000,
    )


def _count_running(door: Door, parent: Run) -> int:
    where = f"tags.`mlflow.parentRunId` = '{parent.id}' and attributes.status = 'RUNNING'"
    return sum(1 for _ in door.search([parent.experiment_id], where))


def _record(run: Run, study: str, objective: str) -> TrialRecord:
    tags, searched = run.tags, run.tags.get("study.searched", "").split()
    config = {name: _scalar(text) for name, text in run.params.items()}
    best = {key.removeprefix(_BEST): value for key, value in run.metrics.items() if key.startswith(_BEST)}
    epoch = best.pop("epoch", None)
    reason = tags.get("study.stop_reason")
    return TrialRecord(
        study=study,
        trial=int(tags["study.trial"]),
        state=_state(tags.get("study.state", "")),
        params={name: config[name] for name in searched if name in config},
        config=config,
        seed=int(tags.get("study.seed", 0)),
        point=int(tags.get("study.point", 0)),
        replicate=int(tags.get("study.replicate", 0)),
        stop_reason=StopReason(reason) if reason else None,
        value=best.get(objective),
        epoch=None if epoch is None else int(epoch),
        epochs_run=int(tags.get("study.epochs_run", 0)),
        metrics=best,
        checkpoint=_checkpoint(run),
        run_id=run.id,
        started_at_s=run.start_ms / 1000,
        finished_at_s=None if run.end_ms is None else run.end_ms / 1000,
        attempts=int(tags.get("study.attempts", 1)),
    )


def _state(text: str) -> TrialState:
    return TrialState.WAITING if text == INTERRUPTED else TrialState(text)


def _checkpoint(run: Run) -> str | None:
    """Return the checkpoint's folder, or a ``runs:/`` URI for ``fetch_checkpoint`` when it lies elsewhere."""
    if run.tags.get("study.checkpoint") is None:
        return None
    folder = local_path(run.artifact_uri)
    return f"runs:/{run.id}/{CHECKPOINT}" if folder is None else str(folder / CHECKPOINT)


def _scalar(text: str) -> Scalar:
    """Return the value a param was before MLflow made it a text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if str(value) == text else text
    return text
