"""Commands about a study file that run no trial: validate, plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, NewName, Overrides, Results, StudyFile, Trials
from cli.output import duration, number, print_json
from cli.views.tables import make_table, print_table

if TYPE_CHECKING:
    from study.planning import Plan


def validate(
    file: StudyFile, name: NewName = None, trials: Trials = None, overrides: Overrides = None, json: Json = False
) -> None:
    """Check a study file; print every fault with its place."""
    from study.config_file import load_spec
    from study.designs import trials_in_words
    from study.errors import SpecError

    try:
        spec = load_spec(file, overrides or (), name=name, trials=trials).spec
    except SpecError as error:
        if json:
            print_json({"valid": False, "faults": [asdict(fault) for fault in error.faults]})
        raise
    if json:
        print_json({"valid": True, "spec": spec.model_dump(mode="json")})
        return
    over = f" over {', '.join(spec.searched())}" if spec.searched() else ""
    epochs = spec.trial.max_epochs
    typer.echo(f"{file}: valid; {trials_in_words(spec)} of up to {epochs} epoch{'s' * (epochs > 1)}{over}")


def plan(
    file: StudyFile,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure models that no earlier run tells of, some seconds each.")
    ] = False,
    name: NewName = None,
    trials: Trials = None,
    overrides: Overrides = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Say what a study file would run, and what it needs in time and disk; starts no trial, writes no file."""
    from study.config_file import load_spec
    from study.designs import design_notes
    from study.planning import plan_study

    spec = load_spec(file, overrides or (), name=name, trials=trials).spec
    study_plan = plan_study(spec, results, measure=calibrate, say=lambda line: typer.echo(line, err=True))
    notes = design_notes(spec)
    if json:
        print_json(_as_json(study_plan, notes))
    else:
        print_plan(study_plan, notes)


def _as_json(plan: Plan, design_notes: tuple[str, ...]) -> dict[str, Any]:
    work, needs, timing, machine = plan.work, plan.disk_usage, plan.timing, plan.machine
    return {
        "study": plan.spec.name,
        "design": plan.spec.design.kind,
        "trials": work.trials,
        "replicates": list(plan.spec.replicates.numbers),
        "epochs": work.epochs,
        "points_drawn_at_random": work.drawn,
        "points": list(work.points),
        "notes": list(design_notes),
        "models": [
            {**key._asdict(), "trials": count, **({} if timing is None else _speed(plan, key))}
            for key, count in plan.models.items()
        ],
        "machine": {"cpus": machine.cores, **_picked(machine, "gpus", "slots", "cpus_per_trial", "gpus_per_trial")},
        "time": None if timing is None else {
            "wall_s": timing.pretraining.wall_s + timing.trials.wall_s,
            "pretraining_s": timing.pretraining.wall_s,
            "cpu_hours": timing.busy_s * machine.cpus_per_trial / 3600,
            "accelerator_hours": timing.busy_s * machine.gpus_per_trial / 3600,
            "limit": timing.limit and {"name": timing.limit.name, "at_s": timing.limit.at_s,
                                       "trials_ended": timing.limit.ended},
        },
        "time_unknown": plan.unknown or None,
        "disk_bytes": needs.disk_bytes,
        "disk": _picked(needs, "running_bytes", "kept_bytes", "weights_bytes", "images_bytes", "images_cached"),
        "memory_bytes": needs.memory_bytes,
    }  # fmt: skip


def _picked(of: object, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


def _speed(plan: Plan, key: Any) -> dict[str, Any]:
    assert plan.timing is not None
    speed = plan.timing.speeds[key]
    return {"images_per_s": 1 / speed.train_image_s, "source": speed.source}


SHOWN_WHOLE, SHOWN_ENDS, SHOWN_DRAWN = 30, 5, 8
_UNITS = ("B", "kB", "MB", "GB", "TB")


def print_plan(plan: Plan, design_notes: Sequence[str]) -> None:
    """Print what would run, then what it needs."""
    spec, work = plan.spec, plan.work
    way = f"search by {spec.search.sampler}" if work.drawn else spec.design.kind
    typer.echo(f"{spec.name}: {way}, {_trials(plan)}, {_counted(work.epochs, 'epoch')} at most")
    _print_points(plan)
    for note in design_notes:
        typer.echo(f"note: {note}")
    _print_models(plan)
    _print_time(plan)
    _print_storage(plan)


def _trials(plan: Plan) -> str:
    seeds = plan.spec.replicates.numbers
    trials, points = _counted(plan.work.trials, "trial"), len(plan.work.points)
    if len(seeds) == 1:
        return trials
    each = f"{_counted(points, 'point')} x " if points * len(seeds) == plan.work.trials else ""
    return f"{trials} ({each}{len(seeds)} seeds: {', '.join(map(str, seeds))})"


def _print_points(plan: Plan) -> None:
    points, total = plan.work.points, len(plan.work.points)
    names = [name for name in plan.spec.searched() if any(name in point for point in points)]
    if not names:
        return
    if plan.work.drawn:
        shown, title = points[:SHOWN_DRAWN], f"a sample of {min(total, SHOWN_DRAWN)} points drawn at random; "
        title += "the search chooses its own"
        first = []
    elif total <= SHOWN_WHOLE:
        shown, title, first = points, _counted(total, "point"), [str(at) for at in range(total)]
    else:
        shown = (*points[:SHOWN_ENDS], *points[-SHOWN_ENDS:])
        title = f"{total} points, the first and last {SHOWN_ENDS} (--json has all)"
        first = [str(at) for at in (*range(SHOWN_ENDS), *range(total - SHOWN_ENDS, total))]
    rows = [[number(point.get(name)) for name in names] for point in shown]
    if first:
        rows, names = [[place, *row] for place, row in zip(first, rows, strict=True)], ["point", *names]
    table = make_table(names, rows, right=["point"], folds=[name for name in names if name != "point"])
    typer.echo(title)
    print_table(table)


def _print_models(plan: Plan) -> None:
    """Print how fast each kind of model is, where that is known."""
    if plan.timing is None:
        return
    rows = [
        [f"{key.family} {key.depth}", str(key.batch_size), key.precision, key.freeze, str(count),
         f"{1 / speed.train_image_s:.0f}", speed.source]
        for key, count in plan.models.items()
        for speed in [plan.timing.speeds[key]]
    ]  # fmt: skip
    shown = rows if len(rows) <= SHOWN_WHOLE else rows[:SHOWN_WHOLE]
    columns = ["model", "batch", "precision", "freeze", "trials", "images/s", "known"]
    print_table(make_table(columns, shown, right=["batch", "trials", "images/s"], folds=["known"]))
    if len(rows) > len(shown):
        typer.echo(f"and {len(rows) - len(shown)} more kinds of models (--json has all)")


def _print_time(plan: Plan) -> None:
    timing, machine, spec = plan.timing, plan.machine, plan.spec
    if timing is None:
        typer.echo(f"time    unknown: {plan.unknown}")
        return
    wall_s = timing.pretraining.wall_s + timing.trials.wall_s
    on = f"{machine.gpus} GPU{'s' * (machine.gpus != 1)}" if machine.gpus_per_trial else f"{machine.cores} CPUs"
    typer.echo(
        f"time    about {duration(wall_s)} with {_counted(machine.slots, 'trial')} at once on {on}{_beside(plan)}"
    )
    share = machine.gpus_per_trial or machine.cpus_per_trial
    what = "accelerator-hours" if machine.gpus_per_trial else "CPU-hours"
    typer.echo(f"        {timing.busy_s * share / 3600:.2f} {what}; {_savings(plan)}")
    if timing.limit is not None:
        limit = timing.limit
        typer.echo(
            f"limit   budget.{limit.name} ({limit.value}) comes first, after {duration(limit.at_s)}: "
            f"about {limit.ended} of {plan.work.trials} trials will have ended"
        )
    elif spec.budget.wall_clock is not None or spec.budget.accelerator_hours is not None:
        typer.echo("limit   the trials end before any limit of the budget is reached")
    if spec.budget.target:
        target = ", ".join(f"{name} {value:g}" for name, value in spec.budget.target.items())
        typer.echo(f"        a trial that reaches the target ({target}) ends the study at once")


def _beside(plan: Plan) -> str:
    assert plan.timing is not None
    first = plan.timing.pretraining.wall_s
    pretraining = f", {duration(first)} of it for init rotation" if first else ""
    return f"{pretraining}, from the first trial's start on: starting Ray and reading images come before"


def _savings(plan: Plan) -> str:
    """Return what may make the time shorter, in words."""
    spec, may = plan.spec, []
    if spec.pruner != "none":
        may.append(f"{spec.pruner} stops weak trials earlier")
    if any(trial.config.early_stopping_patience is not None for trial in plan.work.kinds):
        may.append("early stopping ends some")
    if plan.work.drawn:
        may.append("the search tries other points than those drawn here")
    if plan.machine.packs:
        may.append("several trials share a GPU where its memory holds them")
    return f"may be less: {', '.join(may)}" if may else "every trial runs to its last epoch"


def _print_storage(plan: Plan) -> None:
    needs, keep = plan.disk_usage, plan.spec.keep.per_study
    kept = "all trials" if keep == "all" else _counted(min(keep, plan.work.trials), "best trial")
    parts = [f"{_bytes(needs.running_bytes)} of running trials", f"{_bytes(needs.kept_bytes)} of the {kept}"]
    if needs.weights_bytes:
        parts.append(f"{_bytes(needs.weights_bytes)} of weights to begin with")
    if not needs.images_cached:
        parts.append(f"{_bytes(needs.images_bytes)} of decoded images")
    typer.echo(f"disk    at most {_bytes(needs.disk_bytes)}: {', '.join(parts)}; metrics and figures besides")
    if needs.images_cached:
        typer.echo(f"        the decoded images are cached already ({_bytes(needs.images_bytes)})")
    typer.echo(f"memory  {_bytes(needs.memory_bytes)} that the trials of a machine share, besides their own")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _bytes(size: float) -> str:
    at = 0
    while size >= 1000 and at < len(_UNITS) - 1:
        size, at = size / 1000, at + 1
    return f"{size:.0f} {_UNITS[at]}" if at < 2 or size >= 100 else f"{size:.1f} {_UNITS[at]}"
