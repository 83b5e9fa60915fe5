"""Show one study in full, for people."""

from __future__ import annotations

import typer

from cli.output import make_table, moment, number, print_table
from cli.reading import OpenStudy
from study.ranking import rank
from study.records import StudySummary, TrialState
from study.spec import Choice, Constant, Integer, Parameter, Uniform

SHOWN = 5


def print_study(study: OpenStudy, summary: StudySummary) -> None:
    """Print what was searched, how far it is and what it found."""
    spec, data = study.ledger.spec, study.ledger.data
    counts = f"{summary.complete} complete, {summary.pruned} pruned, {summary.failed} failed, "
    counts += f"{summary.running} {'to resume' if summary.state == 'interrupted' else 'running'}"
    sizes = ", ".join(f"{name} {count}" for name, count in data.sizes.items())
    typer.echo(f"{summary.name}: {summary.state}, {summary.trials} of {summary.planned} trials ({counts})")
    typer.echo(f"  begun      {moment(summary.created_at_s)}")
    typer.echo(f"  objective  {spec.objective.mode} {spec.objective.metric}, best so far {number(summary.best, 5)}")
    way = spec.search.sampler if spec.design.kind == "search" else spec.design.kind
    typer.echo(f"  search     {way}, pruner {spec.pruner}, seed {spec.search.seed}")
    typer.echo(f"  data       {data.source} at {data.image_size_px} px: {sizes} (fingerprint {data.fingerprint[:12]})")
    positive = ", the positive class" if len(data.classes) == 2 else ""
    named = [f"{one} ({at}{positive if at == 1 else ''})" for at, one in enumerate(data.classes)]
    typer.echo(f"  classes    {', '.join(named)}")
    for parameter in spec.space:
        typer.echo(f"  {parameter.name:14s} {_domain(parameter)}")
    for notice in study.ledger.notices:
        typer.echo(f"  note: {notice}")
    typer.echo(f"  files      {study.layout.root}")
    _print_top(study)
    for record in study.records:
        if record.state is TrialState.FAILED:
            typer.echo(
                f"  trial {record.trial} failed: {record.error} (traceback: {study.layout.trial_error(record.trial)})"
            )


def _print_top(study: OpenStudy) -> None:
    objective = study.ledger.spec.objective
    rows = [row for row in rank(study.records, objective.metric, objective.mode) if row.rank][:SHOWN]
    if rows:
        columns = ["rank", "trial", "state", objective.metric, "params"]
        cells = [
            [str(row.rank), str(row.record.trial), row.record.state.value, number(row.value),
             " ".join(f"{key}={number(value)}" for key, value in row.record.params.items())]
            for row in rows
        ]  # fmt: skip
        print_table(make_table(columns, cells, right=["rank", "trial", objective.metric]))


def _domain(parameter: Parameter) -> str:
    match parameter.domain:
        case Choice(values=values):
            text = "one of " + ", ".join(map(str, values))
        case Constant(value=value):
            text = f"always {value}"
        case Uniform(low=low, high=high, log=log) | Integer(low=low, high=high, log=log):
            text = f"from {low:g} to {high:g}" + (", log" if log else "")
    when = " and ".join(f"{one.parameter} is {' or '.join(map(str, one.values))}" for one in parameter.when)
    return f"{text}, when {when}" if when else text
