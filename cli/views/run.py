"""Gather all that is known of one run, from the results folder or from a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.output import duration, moment, number, short_path
from cli.views.leaderboard import spent_s
from cli.views.tables import make_table, print_table
from study.config.hyperparameters import in_use
from study.engine.environment import PACKAGES
from study.records import EpochMetrics, TrialRecord

if TYPE_CHECKING:
    from cli.queries.study_handle import StudyInFolder
    from tracking.outbox.study_state import DriverSession


COMMIT = "commit"
CHANGED = " with changes"
FEW = ("val_loss", "val_accuracy", "train_loss", "learning_rate", "epoch_s")
"""Metrics that are enough to see how the epochs went, beside the objective."""
FULL_ID = 32


@dataclass(frozen=True)
class RunDetails:
    """A trial with its epochs, and what it ran on.

    ``seed`` is that of its study file; of ``data``, ``code``, ``machine`` and packages, what was not stored is left
    out; ``traceback`` is the file of a failed trial.
    """

    record: TrialRecord
    objective: str
    seed: int | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, str] = field(default_factory=dict)
    traceback: Path | None = None

    @property
    def label(self) -> str:
        """How a person names it."""
        return f"{self.record.study}/{self.record.trial}"


def read_run(results: Path, tracking_uri: str | None, text: str, metrics: Sequence[str] | None = ()) -> RunDetails:
    """Return a run of the results folder, or of a server with the epochs of the named metrics (None: of all)."""
    return served_run(tracking_uri, text, metrics) if tracking_uri else local_run(results, text)


def local_run(results: Path, text: str) -> RunDetails:
    """Return a run of the results folder; raises as ``find_trial`` does."""
    from cli.queries.trial_names import find_trial
    from study.storage.reader import read_epochs

    study, record = find_trial(results, text)
    record = replace(record, history=tuple(epoch.metrics for epoch in read_epochs(study.layout, record.trial)))
    error = study.layout.trial_error(record.trial)
    return replace(with_origin(study, record), traceback=error if error.exists() else None)


def served_run(tracking_uri: str, text: str, metrics: Sequence[str] | None = ()) -> RunDetails:
    """Return a run of a server; of its epochs the named metrics and the objective, all where None is named.

    Raises:
        UsageError: the text names no run.
        TrackingError: the server is away or does not know it.
    """
    from cli.queries.trial_names import TRIAL_SYNTAX, is_run_id, trial_named
    from study.errors import UsageError
    from tracking.reader import queries as query
    from tracking.reader.study import seeds_of

    named = trial_named(text)
    if named is not None:
        run_id = query.find_trial(tracking_uri, *named)
    elif is_run_id(text):
        run_id = text if len(text) == FULL_ID else query.find_run(tracking_uri, text)
    else:
        raise UsageError(f"{TRIAL_SYNTAX}, got `{text}`")
    record, run, parent = query.trial(tracking_uri, run_id, metrics, objective=bool(metrics))
    tags, params = run.tags, parent.params
    data = {
        "source": params.get("data.source"), "fingerprint": tags.get("study.data_fingerprint"),
        "image_size_px": params.get("data.image_size_px"), "sizes": parent.tags.get("study.data_sizes"),
    }  # fmt: skip
    code = {COMMIT: tags.get("mlflow.source.git.commit"), "changed": tags.get("study.git_dirty")}
    if tags.get("study.git_dirty") == "true":
        code["code"] = tags.get("study.code")
    machine = {"host": tags.get("study.host"), "user": tags.get("mlflow.user"), "device": tags.get("study.device")}
    listed = [package.rpartition(" ") for package in tags.get("study.packages", "").split(", ") if package]
    seeds = seeds_of(parent)
    return RunDetails(
        record, params.get("study.metric", ""), seeds[record.replicate] if record.replicate < len(seeds) else None,
        _known(data), _known(code), _known(machine), {package: version for package, _, version in listed},
    )  # fmt: skip


def shown_metrics(run: RunDetails) -> list[str]:
    """Return the few metrics that are enough to see how the epochs went."""
    there = {name for epoch in run.record.history for name in epoch.values}
    return [name for name in dict.fromkeys((run.objective, *FEW)) if name in there]


def epoch_values(epochs: tuple[EpochMetrics, ...], name: str) -> list[float | None]:
    """Return a metric epoch by epoch."""
    return [epoch.values.get(name) for epoch in epochs]


def with_origin(study: StudyInFolder, record: TrialRecord) -> RunDetails:
    """Return a run of a study that was read, with what it ran on."""
    from tracking.outbox.study_state import read_sessions

    view, summary = study.view, study.view.data
    session = _session_of(record, read_sessions(study.layout.outbox))
    environment = dict(view.environment)
    commit = environment.pop(COMMIT, "")
    code = {COMMIT: commit.removesuffix(CHANGED), "changed": str(commit.endswith(CHANGED)).lower()} if commit else {}
    data = {
        "source": summary.source, "fingerprint": summary.fingerprint, "image_size_px": str(summary.image_size_px),
        "classes": ", ".join(summary.classes), **{f"images in {key}": str(size) for key, size in summary.sizes.items()},
    }  # fmt: skip
    packages = session.packages if session else {}
    packages = packages or {name: environment[name] for name in PACKAGES if name in environment}
    machine = {name: value for name, value in environment.items() if name not in packages}
    seeds = view.spec.replicates.numbers
    return RunDetails(
        record, view.spec.objective.metric, seeds[record.replicate] if record.replicate < len(seeds) else None,
        data, (session and session.code) or code, {**machine, **(session.machine if session else {})}, packages,
        session.installed if session else {},
    )  # fmt: skip


def _session_of(record: TrialRecord, sessions: list[DriverSession]) -> DriverSession | None:
    """Return the last session that worked at a trial."""
    end = record.finished_at_s
    before = [session for session in sessions if end is None or session.at_s <= end]
    return before[-1] if before else None


def _known(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


_DIGITS = 5
_PLACES = ("seed", "point", "replicate")


def print_run(run: RunDetails) -> None:
    """Print all that is known of a run; of its epochs a few metrics."""
    record = run.record
    reason = f", {record.stop_reason.value}" if record.stop_reason else ""
    typer.echo(f"trial {record.trial} of {record.study}: {record.state.value}{reason}")
    for heading, text in _lines(run):
        typer.echo(f"  {heading:12s} {text}")
    if record.error:
        where = f" (traceback: {short_path(str(run.traceback))})" if run.traceback else ""
        typer.echo(f"  {'error':12s} {record.error.strip()}{where}")
    if record.metrics:
        rows = [[name, number(record.metrics[name], _DIGITS)] for name in sorted(record.metrics)]
        print_table(make_table([f"metrics of epoch {record.epoch}", ""], rows, right=("",)))
    if names := shown_metrics(run):
        columns = [epoch_values(record.history, name) for name in names]
        cells = [[str(epoch.epoch), *(number(column[at], _DIGITS) for column in columns)]
                 for at, epoch in enumerate(record.history)]  # fmt: skip
        print_table(make_table(["epoch", *names], cells, right=["epoch", *names]))


def run_json(run: RunDetails) -> dict[str, Any]:
    """Return all that is known of a run as one JSON object, with every metric of every epoch."""
    values = asdict(run.record)
    epochs = [{"epoch": epoch["epoch"], "metrics": epoch["values"]} for epoch in values.pop("history")]
    return {
        **values,
        "drawn_seed": run.record.seed,
        "seed": run.record.seed if run.seed is None else run.seed,
        "epochs": epochs,
        "data": dict(run.data),
        "code": dict(run.code),
        "environment": dict(run.machine),
        "packages": dict(run.installed or run.packages),
        "traceback": None if run.traceback is None else str(run.traceback),
    }


def _lines(run: RunDetails) -> Iterator[tuple[str, str]]:
    record = run.record
    seed = "" if run.seed is None else f", seed {run.seed}"
    yield "place", f"point {record.point}, replicate {record.replicate}{seed} (drawn {record.seed})"
    spent = spent_s(record)
    took = "" if spent is None else f", {duration(spent)}"
    busy = f", {duration(record.busy_s)} on a worker" if record.busy_s else ""
    attempts = f", attempt {record.attempts}" if record.attempts > 1 else ""
    yield "time", f"{moment(record.started_at_s)} to {moment(record.finished_at_s)}{took}{busy}{attempts}"
    yield "searched", _pairs(record.params)
    rest = {name: value for name, value in in_use(record.config).items() if name not in (*record.params, *_PLACES)}
    yield "others", _pairs(rest)
    if record.epoch is not None:
        value = f"{run.objective} {number(record.metrics.get(run.objective), _DIGITS)}"
        yield "selected", f"epoch {record.epoch} of {record.epochs_run}: {value}"
    if record.checkpoint is not None:
        kept = "" if record.kept is not False else " (weights not kept: keep.per_study)"
        yield "checkpoint", f"{short_path(record.checkpoint)}{kept}"
    yield "MLflow run", record.run_id or "not sent yet"
    named = (("data", run.data), ("code", run.code), ("ran on", run.machine), ("packages", run.packages))
    for heading, values in named:
        if values:
            yield heading, _pairs(values)


def _pairs(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={_word(value)}" for name, value in values.items()) or "-"


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else number(value)
