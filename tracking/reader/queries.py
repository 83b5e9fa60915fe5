"""Find and read studies, trials and checkpoints on MLflow; the server orders and limits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from study.errors import TrackingError
from study.records import EpochMetrics, StudySummary, TrialRecord
from study.utils.text import first_of
from tracking.client.client import Experiment, Run
from tracking.client.errors import LostError
from tracking.content.encoding import plain_name, safe_name
from tracking.reader.rest_client import Reader, open_reader
from tracking.reader.study import ServedStudy, ServerFilter
from tracking.tracking_uri import mask_uri, quoted_uri

_STUDIES = "tags.`study.kind` = 'study'"
_NEWEST_FIRST = ("attributes.start_time DESC",)
_LISTED_NAMES = 20


def studies(tracking_uri: str) -> list[StudySummary]:
    """Return a summary of every study on the server, the newest first.

    Raises:
        TrackingError: the server cannot be reached.
    """
    reader = open_reader(tracking_uri)
    ids = [experiment.id for experiment in reader.experiments()]
    return [ServedStudy(reader, run).summary for run in reader.search(ids, _STUDIES, _NEWEST_FIRST)] if ids else []


def open_study(tracking_uri: str, name: str | None = None) -> ServedStudy:
    """Return the newest study of a name, or the newest of all without a name.

    Raises:
        TrackingError: the server cannot be reached or has no such study.
    """
    reader = open_reader(tracking_uri)
    if name is None:
        experiments = [experiment.id for experiment in reader.experiments()]
    else:
        experiment = reader.find_experiment(name)
        experiments = [experiment.id] if experiment else []
    runs = reader.search(experiments, _STUDIES, _NEWEST_FIRST, limit=1) if experiments else iter(())
    if (parent := next(runs, None)) is not None:
        return ServedStudy(reader, parent)
    if name is None:
        raise TrackingError(f"no study on MLflow at {mask_uri(tracking_uri)}; `study run FILE` makes one")
    raise TrackingError(
        f"A study must be known to MLflow at {mask_uri(tracking_uri)} to be read, but {name!r} is not; "
        f"there are: {_names(reader.experiments())}"
    )


def find_run(tracking_uri: str, run_id: str) -> str:
    """Return the full id of the run whose id begins with ``run_id``.

    Raises:
        TrackingError: the server cannot be reached, or has no such run or several.
    """
    reader = open_reader(tracking_uri)
    ids = [experiment.id for experiment in reader.experiments()]
    where = f"attributes.run_id LIKE '{run_id}%'"
    matches = [run.id for run in reader.search(ids, where, limit=_LISTED_NAMES)] if ids else []
    if len(matches) != 1:
        several = f"several begin so: {', '.join(matches)}" if matches else "none begins so"
        raise TrackingError(f"a run must be known to MLflow at {mask_uri(tracking_uri)}, but of {run_id!r} {several}")
    return matches[0]


def find_trial(tracking_uri: str, study: str, number: int) -> str:
    """Return the run id of a trial of the newest study of a name.

    Raises:
        TrackingError: the server cannot be reached, or has no such study or trial.
    """
    served = open_study(tracking_uri, study)
    record = next(served.trials(wanted=[ServerFilter("tag", "study.trial", "=", str(number))], limit=1), None)
    if record is None or record.run_id is None:
        raise TrackingError(f"no trial {number} of {study!r} on MLflow at {mask_uri(tracking_uri)}")
    return record.run_id


def trial(
    tracking_uri: str, run_id: str, metrics: Sequence[str] | None = (), *, objective: bool = False
) -> tuple[TrialRecord, Run, Run]:
    """Return the record of a trial, its run, and the run of its study.

    The epochs of ``metrics`` (None: of all) are read too, one request each, and with ``objective`` those of the first
    objective.

    Raises:
        TrackingError: the server cannot be reached, has no such run, or it is not a trial's.
    """
    reader = open_reader(tracking_uri)
    run = reader.run(run_id)
    if run.tags.get("study.kind") != "trial":
        raise TrackingError(
            f"run {run_id} must be that of a trial to be shown as one, but it is not; "
            f"`study list --tracking-uri {quoted_uri(tracking_uri)}` shows the studies"
        )
    try:
        parent = ServedStudy(reader, reader.run(run.tags.get("mlflow.parentRunId", "")))
    except LostError as exc:
        raise TrackingError(f"the study of run {run_id} must be there to show it, but is deleted") from exc
    objective_metric = parent.objective_list[0].metric
    record = parent.record_of(run)
    if objective and metrics is not None:
        metrics = (objective_metric, *metrics)
    return _with_epochs(reader, record, run, metrics), run, parent.parent


def _with_epochs(reader: Reader, record: TrialRecord, run: Run, metrics: Sequence[str] | None) -> TrialRecord:
    logged = [key for key in run.metrics if not key.startswith(("best.", "test."))]
    wanted = logged if metrics is None else [key for key in map(safe_name, metrics) if key in logged]
    epochs: dict[int, dict[str, float]] = {}
    for key in wanted:
        for step, value in reader.history(run.id, key):
            epochs.setdefault(step, {})[plain_name(key)] = value
    return replace(record, history=tuple(EpochMetrics(epoch, epochs[epoch]) for epoch in sorted(epochs)))


def _names(experiments: list[Experiment]) -> str:
    names = [experiment.name for experiment in experiments if experiment.id != "0"]
    return first_of(names, _LISTED_NAMES) or "none"
