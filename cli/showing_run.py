"""Show one run whole: how it ended, what it was given, every metric, every epoch, what it ran on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import typer

from cli.one_run import OneRun, epoch_values, shown_metrics
from cli.output import duration, moment, number, short_path
from cli.rows import spent_s
from cli.tables import make_table, print_table
from study.hyperparameters import in_use

_DIGITS = 5
_PLACES = ("seed", "point", "replicate")


def print_run(run: OneRun) -> None:
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
        cells = [[str(one.epoch), *(number(column[at], _DIGITS) for column in columns)]
                 for at, one in enumerate(record.history)]  # fmt: skip
        print_table(make_table(["epoch", *names], cells, right=["epoch", *names]))


def run_json(run: OneRun) -> dict[str, Any]:
    """Return all that is known of a run as one JSON object, with every metric of every epoch."""
    found = asdict(run.record)
    epochs = [{"epoch": one["epoch"], "metrics": one["values"]} for one in found.pop("history")]
    return {
        **found,
        "drawn_seed": run.record.seed,
        "seed": run.record.seed if run.seed is None else run.seed,
        "epochs": epochs,
        "data": dict(run.data),
        "code": dict(run.code),
        "environment": dict(run.machine),
        "packages": dict(run.installed or run.packages),
        "traceback": None if run.traceback is None else str(run.traceback),
    }


def _lines(run: OneRun) -> Iterator[tuple[str, str]]:
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
