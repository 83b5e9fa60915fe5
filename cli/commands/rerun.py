"""The command that runs a finished trial once more and compares: rerun."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, Results, Run, folder_option
from cli.output import number, print_json, short_path
from cli.views.tables import make_table, print_table
from study.errors import StudyError

if TYPE_CHECKING:
    from study.engine.rerun import RerunResult
    from study.records import EpochMetrics


def rerun(
    run: Run,
    save: Annotated[
        Path | None,
        folder_option("--save", help="A new or empty folder for the selected checkpoint."),
    ] = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Run a finished trial again and compare every metric to the last bit; say why where it is not the same."""
    from cli.queries.trial_names import find_trial
    from study.data import load_data
    from study.engine.rerun import require_rerunnable
    from study.engine.rerun import rerun as run_again

    study, record = find_trial(results, run, epochs=True)
    require_rerunnable(record, study.layout)
    objective = study.view.spec.objective.metric
    then = {metrics.epoch: metrics.values.get(objective) for metrics in record.history}

    def show(now: EpochMetrics) -> None:
        value, before = now.values.get(objective), then.get(now.epoch)
        verdict = "as then" if value == before else f"then {number(before, 6)}"
        typer.echo(f"epoch {now.epoch}/{record.epochs_run} {objective} {number(value, 6)} ({verdict})", err=True)

    typer.echo(f"trial {record.trial} of {study.name} again, {_epochs(record.epochs_run)}", err=True)
    data = load_data(study.view.spec.data)
    result = run_again(study.view, study.layout, record, data, save=save, on_epoch=show)
    if json:
        print_json(_as_json(result))
    else:
        _print(result)
    if not result.same:
        raise StudyError(_verdict(result))


def _print(result: RerunResult) -> None:
    if result.same:
        weights = ", and the same weights" if result.same_weights else ""
        typer.echo(f"the same to the last bit: {_epochs(result.record.epochs_run)} x {result.metrics} metrics{weights}")
    else:
        _print_differences(result)
    if result.saved is not None:
        which = "the selected checkpoint" if result.same else "a checkpoint that is not the study's"
        typer.echo(f"{which} is in {short_path(str(result.saved))}")


def _print_differences(result: RerunResult) -> None:
    rows = [
        [difference.metric, "selected" if difference.epoch is None else str(difference.epoch),
         number(difference.then, 8), number(difference.now, 8),
         "-" if math.isnan(difference.largest) else f"{difference.largest:.2g}"]
        for difference in result.differences
    ]  # fmt: skip
    columns = ["metric", "first epoch", "then", "now", "largest difference"]
    if rows:
        print_table(make_table(columns, rows, right=columns[1:]))
    if result.epochs_now != result.record.epochs_run:
        typer.echo(f"it had {result.record.epochs_run} epochs then and {result.epochs_now} now")
    if result.same_weights is False:
        typer.echo("the weights of the selected checkpoint differ")
    typer.echo("what may have made the difference:")
    for reason in result.reasons or ("nothing that is known of: CPU, versions, code, data and weights are as then",):
        typer.echo(f"  {reason}")


def _verdict(result: RerunResult) -> str:
    record, count = result.record, len(result.differences)
    first = min((difference.epoch for difference in result.differences if difference.epoch is not None), default=None)
    what = f"{count} metric{'s' * (count != 1)}" + (f" from epoch {first} on" if first else "")
    if not count:
        what = "its weights" if result.epochs_now == record.epochs_run else "the number of its epochs"
    why = "; ".join(result.reasons) or "nothing is known that could be the cause"
    return f"trial {record.trial} of `{record.study}` must come out the same to the last bit, but {what} differ: {why}"


def _as_json(result: RerunResult) -> dict[str, Any]:
    record = result.record
    return {
        "study": record.study,
        "trial": record.trial,
        "run_id": record.run_id,
        "same": result.same,
        "epochs": record.epochs_run,
        "epochs_now": result.epochs_now,
        "metrics": result.metrics,
        "same_weights": result.same_weights,
        "differences": [
            {
                "metric": each.metric,
                "first_epoch": each.epoch,
                "then": each.then,
                "now": each.now,
                "largest": each.largest,
            }
            for each in result.differences
        ],
        "reasons": [] if result.same else list(result.reasons),
        "saved": None if result.saved is None else str(result.saved),
    }


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"
