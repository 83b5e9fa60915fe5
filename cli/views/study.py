"""Show one study in full: the plan, how far it is, the best of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from cli.output import moment, number
from cli.ranking import Ranking, rank_study
from cli.studies import ReadStudy
from cli.views.leaderboard import configuration_table, trial_table
from cli.views.tables import as_table, print_table
from study.config.search_config import BudgetSpec
from study.config.search_space import Choice, Constant, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.records import StudySummary, TrialState

if TYPE_CHECKING:
    from tracking.reader.study import ServedStudy


SHOWN = 5


def print_study(study: ReadStudy, summary: StudySummary) -> None:
    """Print what was searched, how far it is and what it found."""
    spec, data = study.facts.spec, study.facts.data
    sizes = ", ".join(f"{name} {count}" for name, count in data.sizes.items())
    _print_state(summary)
    found = rank_study(spec, study.name, study.records, None)
    typer.echo(f"  objective  {_objective(found, summary)}")
    for heading, text in _plan(study):
        typer.echo(f"  {heading:10s} {text}")
    typer.echo(f"  data       {data.source} at {data.image_size_px} px: {sizes} (fingerprint {data.fingerprint[:12]})")
    positive = ", the positive class" if len(data.classes) == 2 else ""
    named = [f"{one} ({at}{positive if at == 1 else ''})" for at, one in enumerate(data.classes)]
    typer.echo(f"  classes    {', '.join(named)}")
    for parameter in spec.space:
        typer.echo(f"  {parameter.name:14s} {_domain(parameter)}")
    for notice in study.facts.notices:
        typer.echo(f"  note: {notice}")
    typer.echo(f"  files      {study.layout.root}")
    _print_top(found)
    for record in study.records:
        if record.state is TrialState.FAILED:
            typer.echo(
                f"  trial {record.trial} failed: {record.error} (traceback: {study.layout.trial_error(record.trial)})"
            )


def study_json(study: ReadStudy, summary: StudySummary) -> dict[str, Any]:
    """Return all that is known of a study as one JSON object."""
    return {
        **asdict(summary),
        "spec": study.facts.spec.model_dump(mode="json"),
        "notices": study.facts.notices,
        "end_reason": study.facts.end_reason,
        "extensions": study.facts.extensions,
        "records": [asdict(one) for one in study.records],
    }


def print_served(study: ServedStudy, found: Ranking) -> None:
    """Print what a server knows of a study and of the best of it."""
    summary, tags, params = study.summary, study.parent.tags, study.parent.params
    _print_state(summary)
    typer.echo(f"  objective  {_objective(found, summary)}")
    plain = (
        ("search" if study.design == "search" else "design", f"{params.get('study.sampler')}, {study.design}"),
        ("pruner", params.get("study.pruner")),
        ("searched", tags.get("study.searched")),
        (
            "data",
            f"{params.get('data.source')} at {params.get('data.image_size_px')} px: {tags.get('study.data_sizes')}",
        ),
        ("print", study.fingerprint[:12]),
        ("MLflow run", study.parent.id),
    )
    for heading, text in plain:
        typer.echo(f"  {heading:10s} {text or '-'}")
    _print_top(found)


def served_json(study: ServedStudy) -> dict[str, Any]:
    """Return what a server knows of a study itself as one JSON object."""
    run = study.parent
    return {**asdict(study.summary), "run_id": run.id, "params": dict(run.params), "tags": dict(run.tags)}


def _print_state(summary: StudySummary) -> None:
    counts = f"{summary.complete} complete, {summary.pruned} pruned, {summary.failed} failed, "
    counts += f"{summary.running} {'to resume' if summary.state in ('interrupted', 'stopped') else 'running'}"
    typer.echo(f"{summary.name}: {summary.state}, {summary.trials} of {summary.planned} trials ({counts})")
    typer.echo(f"  begun      {moment(summary.created_at_s)}")


def _plan(study: ReadStudy) -> list[tuple[str, str]]:
    """Return what was to be run and what became of that, as headed lines."""
    spec, facts = study.facts.spec, study.facts
    lines = [("search" if spec.design.kind == "search" else "design", _design(spec))]
    if len(spec.replicates.numbers) > 1:
        lines.append(("replicates", f"each point with the seeds {', '.join(map(str, spec.replicates.numbers))}"))
    if budget := _budget(spec.budget):
        lines.append(("budget", ", ".join(budget)))
    kept = spec.keep.per_study
    whose = "every trial" if kept == "all" else f"the best {kept} trials" if kept > 1 else "the best trial"
    lines.append(("weights", f"those of {whose}"))
    if spec.warm_start:
        lines.append(("warm start", f"{', '.join(spec.warm_start)}: {len(facts.warm_start)} earlier points"))
    for extension in facts.extensions:
        changes = (f"{field} {before} -> {after}" for field, (before, after) in extension["changes"].items())
        lines.append(("extended", f"{moment(extension['at_s'])}: {', '.join(changes)}"))
    if facts.end_reason is not None:
        lines.append(("ended", f"before its time: {facts.end_reason.value}"))
    return lines


def _design(spec: StudySpec) -> str:
    design = spec.design
    words = [spec.search.sampler if design.kind == "search" else design.kind.replace("_", " ")]
    if design.baseline:
        words.append("baseline " + " ".join(f"{key}={number(value)}" for key, value in design.baseline.items()))
    if design.resolution is not None:
        words.append(f"resolution {design.resolution} ({design.fraction.replace('_', '-')})")
    return ", ".join([*words, f"pruner {spec.pruner}", f"seed {spec.search.seed}"])


def _budget(budget: BudgetSpec) -> list[str]:
    """Return the limits that are set, in words."""
    words = []
    if budget.trials is not None:
        words.append(f"{budget.trials} trials")
    if budget.wall_clock is not None:
        words.append(budget.wall_clock)
    if budget.accelerator_hours is not None:
        words.append(f"{budget.accelerator_hours:g} accelerator-hours")
    if budget.target:
        words.append("until " + " and ".join(f"{key} reaches {value:g}" for key, value in budget.target.items()))
    if budget.failures is not None:
        words.append(f"until {budget.failures} trials failed")
    return words


def _objective(found: Ranking, summary: StudySummary) -> str:
    """Return what is wanted and the best of it so far."""
    if found.objective_list:
        listed = ", ".join(f"{objective.mode} {objective.metric}" for objective in found.objective_list)
        return f"{listed}; the first selects a trial's epoch"
    if not found.configurations:
        return f"{found.mode} {found.metric}, best so far {number(summary.best, 5)}"
    return f"{found.mode} {found.metric}, best mean so far {number(found.configurations[0].mean, 5)}"


def _print_top(found: Ranking) -> None:
    if found.configurations:
        shown = [one for one in found.configurations if one.rank][:SHOWN]
        sheet = configuration_table(found, shown, []) if shown else None
    else:
        rows = [row for row in found.rows if row.rank][:SHOWN]
        sheet = trial_table(found, rows, []) if rows else None
    if sheet is not None:
        print_table(as_table(sheet))


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
