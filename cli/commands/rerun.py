"""The command that runs a finished trial once more and compares: rerun."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, Results
from cli.output import number, print_json, short_path
from cli.views.tables import make_table, print_table
from study.errors import StudyError

if TYPE_CHECKING:
    from cli.studies import StudyInFolder
    from study.engine.rerun import RerunResult
    from study.records import EpochMetrics, TrialRecord


def rerun(
    run: Annotated[str, typer.Argument(help="STUDY/TRIAL such as ablation/3, or an MLflow run id.", metavar="RUN")],
    save: Annotated[
        Path | None,
        typer.Option("--save", help="A new or empty folder for the selected checkpoint.", metavar="DIR"),
    ] = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Run a finished trial again and compare every metric to the last bit; say why where it is not the same."""
    study, record = find_trial(results, run)
    from study.data import load_data
    from study.engine.rerun import require_rerunnable
    from study.engine.rerun import rerun as run_again

    require_rerunnable(record)
    objective = study.view.spec.objective.metric
    then = {one.epoch: one.values.get(objective) for one in record.history}

    def show(now: EpochMetrics) -> None:
        value, before = now.values.get(objective), then.get(now.epoch)
        verdict = "as then" if value == before else f"then {number(before, 6)}"
        typer.echo(f"epoch {now.epoch}/{record.epochs_run} {objective} {number(value, 6)} ({verdict})", err=True)

    typer.echo(f"trial {record.trial} of {study.name} again, {_epochs(record.epochs_run)}", err=True)
    data = load_data(study.view.spec.data)
    found = run_again(study.view, study.layout, record, data, save=save, on_epoch=show)
    if json:
        print_json(_as_json(found))
    else:
        _print(found)
    if not found.same:
        raise StudyError(_verdict(found))


def find_trial(results: Path, run: str) -> tuple[StudyInFolder, TrialRecord]:
    """Return the study and trial that somebody means by a run id or by STUDY/TRIAL.

    Raises:
        UsageError: it is neither.
        StudyStorageError: there is no such study, trial or run.
    """
    from cli.studies import open_study
    from cli.trial_names import requested_trial, require_trial

    name, trial = requested_trial(results, run)
    study = open_study(results, name, epochs=True)
    require_trial(name, len(study.records), trial)
    return study, study.records[trial]


def _print(found: RerunResult) -> None:
    if found.same:
        weights = ", and the same weights" if found.same_weights else ""
        typer.echo(f"the same to the last bit: {_epochs(found.record.epochs_run)} x {found.metrics} metrics{weights}")
    else:
        _print_differences(found)
    if found.saved is not None:
        which = "the selected checkpoint" if found.same else "a checkpoint that is not the study's"
        typer.echo(f"{which} is in {short_path(str(found.saved))}")


def _print_differences(found: RerunResult) -> None:
    rows = [
        [one.metric, "selected" if one.epoch is None else str(one.epoch), number(one.then, 8), number(one.now, 8),
         "-" if math.isnan(one.largest) else f"{one.largest:.2g}"]
        for one in found.differences
    ]  # fmt: skip
    columns = ["metric", "first epoch", "then", "now", "largest difference"]
    if rows:
        print_table(make_table(columns, rows, right=columns[1:]))
    if found.epochs_now != found.record.epochs_run:
        typer.echo(f"it had {found.record.epochs_run} epochs then and {found.epochs_now} now")
    if found.same_weights is False:
        typer.echo("the weights of the selected checkpoint differ")
    typer.echo("what may have made the difference:")
    for reason in found.reasons or ("nothing that is known of: CPU, versions, code, data and weights are as then",):
        typer.echo(f"  {reason}")


def _verdict(found: RerunResult) -> str:
    record, count = found.record, len(found.differences)
    first = min((one.epoch for one in found.differences if one.epoch is not None), default=None)
    what = f"{count} metric{'s' * (count != 1)}" + (f" from epoch {first} on" if first else "")
    if not count:
        what = "its weights" if found.epochs_now == record.epochs_run else "the number of its epochs"
    why = "; ".join(found.reasons) or "nothing is known that could be the cause"
    return f"trial {record.trial} of `{record.study}` must come out the same to the last bit, but {what} differ: {why}"


def _as_json(found: RerunResult) -> dict[str, Any]:
    record = found.record
    return {
        "study": record.study,
        "trial": record.trial,
        "run_id": record.run_id,
        "same": found.same,
        "epochs": record.epochs_run,
        "epochs_now": found.epochs_now,
        "metrics": found.metrics,
        "same_weights": found.same_weights,
        "differences": [
            {"metric": one.metric, "first_epoch": one.epoch, "then": one.then, "now": one.now, "largest": one.largest}
            for one in found.differences
        ],
        "reasons": [] if found.same else list(found.reasons),
        "saved": None if found.saved is None else str(found.saved),
    }


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"
