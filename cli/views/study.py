"""Show one study in full: the plan, how far it is, the best of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.output import moment, number
from cli.queries.ranking import Ranking, rank_studies
from cli.queries.server_queries import read_ranked
from cli.queries.study_handle import StudyInFolder, StudyOnServer, open_study
from cli.queries.verdict import with_verdict
from cli.views.leaderboard import configuration_table, trial_table
from cli.views.tables import print_table
from study.config.search_config import BudgetSpec
from study.config.search_space import Choice, Constant, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs.formatting import format_conditions
from study.records import StudySummary, TrialState

if TYPE_CHECKING:
    from study.storage.reader import StudyView
    from tracking.reader.study import ServedStudy


SHOWN = 5


def print_study(results: Path, tracking_uri: str | None, name: str | None) -> None:
    """Print what was searched, how far it is and what it found: of a study in a results folder or on a server."""
    study = read_ranked(results, tracking_uri, name, None, SHOWN)
    summary, ranking = study.summary, rank_studies([study], None)
    if ranking.base is not None:  # a difference to the baseline says nothing without its margin
        judged = with_verdict(ranking, None if tracking_uri else results)
        ranking = replace(ranking, baseline_differences=judged.baseline_differences)
    _print_state(summary)
    typer.echo(f"  objective  {_objective(ranking, summary)}")
    if isinstance(study, StudyInFolder):
        _print_folder_facts(study)
    elif isinstance(study, StudyOnServer):
        _print_server_facts(study.served)
    _print_top(ranking)
    if isinstance(study, StudyInFolder):
        for record in study.records:
            if record.state is TrialState.FAILED:
                file = study.layout.trial_error(record.trial)
                typer.echo(f"  trial {record.trial} failed: {record.error} (traceback: {file})")


def _print_folder_facts(study: StudyInFolder) -> None:
    spec, data = study.view.spec, study.view.data
    sizes = ", ".join(f"{name} {count}" for name, count in data.sizes.items())
    for heading, text in _plan(study.view):
        typer.echo(f"  {heading:10s} {text}")
    typer.echo(f"  data       {data.source} at {data.image_size_px} px: {sizes} (fingerprint {data.fingerprint[:12]})")
    positive = ", the positive class" if len(data.classes) == 2 else ""
    labels = [f"{label} ({at}{positive if at == 1 else ''})" for at, label in enumerate(data.classes)]
    typer.echo(f"  classes    {', '.join(labels)}")
    for parameter in spec.space:
        typer.echo(f"  {parameter.name:14s} {_domain(parameter)}")
    for notice in study.view.notices:
        typer.echo(f"  note: {notice}")
    typer.echo(f"  files      {study.layout.root}")


def _print_server_facts(served: ServedStudy) -> None:
    tags, params = served.parent.tags, served.parent.params
    facts = (
        ("search" if served.design == "search" else "design", f"{params.get('study.sampler')}, {served.design}"),
        ("pruner", params.get("study.pruner")),
        ("searched", tags.get("study.searched")),
        (
            "data",
            f"{params.get('data.source')} at {params.get('data.image_size_px')} px: {tags.get('study.data_sizes')}",
        ),
        ("print", served.fingerprint[:12]),
        ("MLflow run", served.parent.id),
    )
    for heading, text in facts:
        typer.echo(f"  {heading:10s} {text or '-'}")


def study_json(results: Path, tracking_uri: str | None, name: str | None) -> dict[str, Any]:
    """Return all that is known of a study, or what a server knows of it, as one JSON object."""
    if tracking_uri:
        from tracking.reader import queries

        served = queries.open_study(tracking_uri, name)
        run = served.parent
        return {**asdict(served.summary), "run_id": run.id, "params": dict(run.params), "tags": dict(run.tags)}
    study = open_study(results, name, epochs=True)
    return {
        **asdict(study.summary),
        "spec": study.view.spec.model_dump(mode="json"),
        "notices": study.view.notices,
        "end_reason": study.view.end_reason,
        "extensions": study.view.extensions,
        "records": [asdict(record) for record in study.records],
    }


def _print_state(summary: StudySummary) -> None:
    counts = f"{summary.complete} complete, {summary.pruned} pruned, {summary.failed} failed, "
    counts += f"{summary.running} {'to resume' if summary.state in ('interrupted', 'stopped') else 'running'}"
    typer.echo(f"{summary.name}: {summary.state}, {summary.trials} of {summary.planned} trials ({counts})")
    typer.echo(f"  begun      {moment(summary.created_at_s)}")


def _plan(view: StudyView) -> list[tuple[str, str]]:
    """Return what was to be run and what became of that, as headed lines."""
    spec = view.spec
    lines = [("search" if spec.design.kind == "search" else "design", _design(spec))]
    if len(spec.replicates.numbers) > 1:
        lines.append(("replicates", f"each point with the seeds {', '.join(map(str, spec.replicates.numbers))}"))
    if budget := _budget(spec.budget):
        lines.append(("budget", ", ".join(budget)))
    kept = spec.keep.per_study
    whose = "every trial" if kept == "all" else f"the best {kept} trials" if kept > 1 else "the best trial"
    lines.append(("weights", f"those of {whose}"))
    if spec.warm_start:
        lines.append(("warm start", f"{', '.join(spec.warm_start)}: {len(view.warm_start)} earlier points"))
    for extension in view.extensions:
        changes = (f"{field} {before} -> {after}" for field, (before, after) in extension["changes"].items())
        lines.append(("extended", f"{moment(extension['at_s'])}: {', '.join(changes)}"))
    if view.end_reason is not None:
        lines.append(("ended", f"before its time: {view.end_reason.value}"))
    return lines


def _design(spec: StudySpec) -> str:
    design = spec.design
    words = [spec.search.sampler if design.kind == "search" else design.kind.replace("_", " ")]
    if design.baseline:
        words.append("baseline " + " ".join(f"{key}={number(value)}" for key, value in design.baseline.items()))
    if design.points:
        words.append(f"{len(design.points)} listed")
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


def _objective(ranking: Ranking, summary: StudySummary) -> str:
    """Return what is wanted and the best of it so far."""
    if ranking.objective_list:
        listed = ", ".join(f"{objective.mode} {objective.metric}" for objective in ranking.objective_list)
        return f"{listed}; the first selects a trial's epoch"
    if not ranking.configurations:
        return f"{ranking.mode} {ranking.metric}, best so far {number(summary.best, 5)}"
    return f"{ranking.mode} {ranking.metric}, best mean so far {number(ranking.configurations[0].mean, 5)}"


def _print_top(ranking: Ranking) -> None:
    if ranking.configurations:
        shown = [configuration for configuration in ranking.configurations if configuration.rank][:SHOWN]
        sheet = configuration_table(ranking, shown, []) if shown else None
    else:
        rows = [row for row in ranking.rows if row.rank][:SHOWN]
        sheet = trial_table(ranking, rows, []) if rows else None
    if sheet is not None:
        print_table(sheet)


def _domain(parameter: Parameter) -> str:
    match parameter.domain:
        case Choice(values=values):
            text = "one of " + ", ".join(map(str, values))
        case Constant(value=value):
            text = f"always {value}"
        case Uniform(low=low, high=high, log=log) | Integer(low=low, high=high, log=log):
            text = f"from {low:g} to {high:g}" + (", log" if log else "")
    return f"{text}, when {format_conditions(parameter.when)}" if parameter.when else text
