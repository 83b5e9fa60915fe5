"""The command that says what a study would do and cost: plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, Overrides, Results, StudyFile
from cli.output import print_json

if TYPE_CHECKING:
    from study.estimate import Plan

NewName = Annotated[str | None, typer.Option("--name", help="Another name for the study than the file's.")]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Another number of trials.", metavar="N")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("plan")(plan)


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
    from study.spec_file import load_spec

    spec = load_spec(file, overrides or (), name=name, trials=trials).spec
    from cli.planned import print_plan  # after the file's faults, which need nothing heavy to be told
    from study.design import notes
    from study.estimate import plan_study

    found = plan_study(spec, results, measure=calibrate, say=lambda line: typer.echo(line, err=True))
    said = notes(spec)
    if json:
        print_json(_as_json(found, said))
    else:
        print_plan(found, said)


def _as_json(plan: Plan, notes: tuple[str, ...]) -> dict[str, Any]:
    work, needs, timing, machine = plan.work, plan.storage, plan.timing, plan.machine
    return {
        "study": plan.spec.name,
        "design": plan.spec.design.kind,
        "trials": work.trials,
        "replicates": list(plan.spec.replicates.numbers),
        "epochs": work.epochs,
        "points_drawn_at_random": work.drawn,
        "points": list(work.points),
        "notes": list(notes),
        "models": [
            {**key._asdict(), "trials": count, **({} if timing is None else _speed(plan, key))}
            for key, count in plan.models.items()
        ],
        "machine": {"cpus": machine.cores, "gpus": machine.gpus, "slots": machine.slots,
                    "cpus_per_trial": machine.cpus_per_trial, "gpus_per_trial": machine.gpus_per_trial},
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
        "disk": {"running_bytes": needs.running_bytes, "kept_bytes": needs.kept_bytes,
                 "weights_bytes": needs.weights_bytes, "images_bytes": needs.images_bytes,
                 "images_cached": needs.images_cached},
        "memory_bytes": needs.memory_bytes,
    }  # fmt: skip


def _speed(plan: Plan, key: Any) -> dict[str, Any]:
    assert plan.timing is not None
    speed = plan.timing.speeds[key]
    return {"images_per_s": 1 / speed.train_image_s, "source": speed.source}
