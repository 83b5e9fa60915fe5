"""Print what won a study: one checkpoint, or the front of several objectives."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from cli.formats import as_table
from cli.output import number, short_path
from cli.ranked import Ranked
from cli.rows import configuration_json, configuration_sheet, trial_json, trial_sheet
from cli.tables import print_table
from study.configurations import Configuration
from study.ranking import RankedRow
from study.records import TrialRecord


def print_best(found: Ranked, winner: RankedRow, verdict: str) -> None:
    """Print the winning checkpoint and how sure its place is."""
    record = winner.record
    if found.configurations:
        metrics = _print_configuration(found, found.configurations[0])
    else:
        typer.echo(f"best of {found.study} by {found.metric}: trial {record.trial} ({record.state})")
        typer.echo(f"  {found.metric:12s} {number(winner.value, 5)} at epoch {record.epoch} of {record.epochs_run}")
        metrics = record.metrics
    others = [key for key in ("val_auc", "val_accuracy", "val_f1", "val_loss") if key != found.metric]
    typer.echo("  also         " + "  ".join(f"{key} {number(metrics.get(key))}" for key in others))
    if shifted := [key for key in metrics if key.startswith("shifted.") and key.endswith(".auc")]:
        typer.echo("  elsewhere    " + "  ".join(f"{key} {number(metrics[key])}" for key in shifted))
    params = "  ".join(f"{key}={number(value)}" for key, value in record.params.items())
    typer.echo(f"  params       {params or '-'}")
    typer.echo(f"  checkpoint   {short_path(record.checkpoint)}{_of_trial(found, winner)}")
    if record.kept is False:
        typer.echo(f"  weights      not kept (keep.per_study); {_rerun(record)} makes them again")
    typer.echo(f"  MLflow run   {record.run_id or 'not sent yet'}")
    typer.echo(f"  certain?     {verdict}")


def print_front(found: Ranked) -> None:
    """Print the Pareto front; there is no single winner."""
    if found.configurations:
        whole = [one for one in found.configurations if one.rank == 1]
        print_table(as_table(configuration_sheet(found, whole, [])))
        records = [one.best for one in whole if one.best is not None]
    else:
        rows = [row for row in found.rows if row.rank == 1]
        print_table(as_table(trial_sheet(found, rows, [])))
        records = [row.record for row in rows]
    lost = [record for record in records if record.kept is False]
    if lost:
        numbers = ", ".join(str(record.trial) for record in lost)
        typer.echo(f"weights not kept (keep.per_study): trial {numbers}; {_rerun(lost[0])} makes them again")
    typer.echo(f"certain?  {front_certainty(found)}")
    if len(records) > 1:
        pick = f"`study best {found.study} --metric {found.metric}` picks one"
        typer.echo(f"each of them is the better one by some objective, or as good; {pick}")


def front_json(found: Ranked) -> list[dict[str, object]]:
    """Return the members of the front as JSON objects."""
    if found.configurations:
        return [configuration_json(one, found) for one in found.configurations if one.rank == 1]
    return [trial_json(row, found) for row in found.rows if row.rank == 1]


def front_certainty(found: Ranked) -> str:
    """Say what the front takes for granted."""
    if not found.configurations:
        return "not known: each configuration ran once, and the front takes its values as they are"
    return f"not known: the front compares means over up to {found.replicates} seeds, and not their spread"


def _print_configuration(found: Ranked, best: Configuration) -> Mapping[str, float]:
    ran = f"{best.complete} of {best.planned} seeds ran to the end"
    typer.echo(f"best of {found.study} by mean {found.metric}: configuration {best.point} ({ran})")
    spread = "" if best.sd is None else f", standard deviation {number(best.sd, 5)} between seeds"
    typer.echo(f"  {found.metric:12s} {number(best.mean, 5)} mean{spread}")
    means = {key: best.mean_of(key) for key in best.counted[0].metrics}
    return {key: value for key, value in means.items() if value is not None}


def _of_trial(found: Ranked, winner: RankedRow) -> str:
    if not found.configurations:
        return ""
    record = winner.record
    return (
        f" (trial {record.trial}, {found.seed_word} {found.seed_of(record)}: the best of them, "
        f"{number(winner.value, 5)} at epoch {record.epoch} of {record.epochs_run})"
    )


def _rerun(record: TrialRecord) -> str:
    return f"`study rerun {record.run_id or 'RUN_ID'}`"
