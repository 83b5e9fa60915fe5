"""Commands that only look: list, show, compare, best, spaces."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, LookAgain, Metric, Name, ReadUri, Results
from cli.output import STATE_STYLES, duration, make_table, moment, number, print_json, print_table, short_path

if TYPE_CHECKING:
    from cli.ranked import Ranked
    from study.ranking import RankedRow
    from study.records import FinalLook

Top = Annotated[int | None, typer.Option("--top", min=1, help="Show only the first N.", metavar="N")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("list")(list_studies)
    app.command("show")(show)
    app.command("compare")(compare)
    app.command("best")(best)
    app.command("spaces")(spaces)


def list_studies(results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """List the studies, the newest first."""
    from cli.reading import summaries

    if tracking_uri:
        from tracking import query

        found = query.studies(tracking_uri)
    else:
        found = summaries(results)
    if json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        typer.echo(f"no study in {'the server' if tracking_uri else results} yet; `study run FILE` makes one")
        return
    columns = ["name", "state", "trials", "complete", "pruned", "failed", "running", "best", "metric", "begun"]
    rows = [
        [one.name, one.state, f"{one.trials}/{one.planned}", str(one.complete), str(one.pruned), str(one.failed),
         str(one.running), number(one.best), one.metric, moment(one.created_at_s)]
        for one in found
    ]  # fmt: skip
    print_table(make_table(columns, rows, right=columns[2:8]))


def show(name: Name = None, results: Results = RESULTS, json: Json = False) -> None:
    """Show one study: what was searched, how far it is, what it found."""
    from cli.reading import open_study
    from cli.showing import print_study
    from study.ranking import summarize

    study = open_study(results, name)
    summary = summarize(study.ledger.spec, study.state, study.records, study.ledger.created_at_s)
    if json:
        spec = study.ledger.spec.model_dump(mode="json")
        trials = [asdict(one) for one in study.records]
        print_json({**asdict(summary), "spec": spec, "notices": study.ledger.notices, "records": trials})
        return
    print_study(study, summary)


def compare(
    name: Name = None,
    metric: Metric = None,
    top: Top = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="More metrics to show, as in val_f1,shifted.dark.auc.")
    ] = None,
    results: Results = RESULTS,
    tracking_uri: ReadUri = None,
    json: Json = False,
) -> None:
    """Rank the trials of a study."""
    from cli.ranked import ranked_rows, require_metrics

    found = ranked_rows(results, tracking_uri, name, metric)
    more = require_metrics(columns, found)
    rows = found.rows[:top]
    if json:
        print_json([row_json(row, found.metric) for row in rows])
        return
    params = list(dict.fromkeys(key for row in rows for key in row.record.params))
    headings = ["rank", "trial", "state", found.metric, *more, "epoch", *params, "time"]
    cells = [_row(row, more, params) for row in rows]
    table = make_table(headings, cells, right=["rank", "trial", found.metric, *more, "epoch", "time"])
    table.title = f"{found.study}: {len(found.rows)} trials by {found.metric}"
    table.title_justify = "left"
    print_table(table)


def best(
    name: Name = None,
    metric: Metric = None,
    test: Annotated[
        bool, typer.Option("--test", help="Score it on the test images too; they are to be looked at once.")
    ] = False,
    look_again: LookAgain = False,
    results: Results = RESULTS,
    tracking_uri: ReadUri = None,
    json: Json = False,
) -> None:
    """Name the best checkpoint, and say whether it really is the best."""
    from cli.ranked import require_best
    from study.certainty import judge
    from study.errors import UsageError

    if test and tracking_uri:
        raise UsageError("--test needs the checkpoint and the images, so it cannot go with --tracking-uri")
    found, winner = require_best(results, tracking_uri, name, metric)
    verdict = judge(found.rows, found.metric, found.class_counts)
    looks = () if tracking_uri else _looks(results, found, winner, score=test, again=look_again)
    own = next((one for one in looks if (one.trial, one.epoch) == (winner.record.trial, winner.record.epoch)), None)
    if json:
        print_json({**row_json(winner, found.metric), "certainty": asdict(verdict), "test": own and asdict(own),
                    "test_looks": [asdict(one) for one in looks]})  # fmt: skip
        return
    _print_best(found, winner, verdict.text)
    if own is not None:
        from cli.final_look import describe_looks

        scored = "  ".join(f"{key} {number(own.metrics.get(key))}" for key in ("auc", "accuracy", "f1", "loss"))
        typer.echo(f"  test images  {scored}  ({describe_looks(looks, own)})")
    elif looks:
        typer.echo(f"  test images  scored for trial {looks[-1].trial}, not for this one")


def _looks(results: Path, found: Ranked, winner: RankedRow, *, score: bool, again: bool) -> tuple[FinalLook, ...]:
    """Return the looks at the test images, after one at the winner if asked."""
    from cli.final_look import look, refreshed, require_first_look
    from cli.reading import open_study

    study = open_study(results, found.study)
    if not score:
        return study.ledger.looks
    require_first_look(study, winner, again=again)
    from study.data import load_data

    data = load_data(study.ledger.spec.data)
    study.ledger.require_data(data.summary.fingerprint)
    look(results, study, found, winner, data.test.images, data.test.labels, again=again)
    return refreshed(study).ledger.looks


def _print_best(found: Ranked, winner: RankedRow, verdict: str) -> None:
    record = winner.record
    params = "  ".join(f"{key}={number(value)}" for key, value in record.params.items())
    typer.echo(f"best of {found.study} by {found.metric}: trial {record.trial} ({record.state})")
    typer.echo(f"  {found.metric:12s} {number(winner.value, 5)} at epoch {record.epoch} of {record.epochs_run}")
    others = [key for key in ("val_auc", "val_accuracy", "val_f1", "val_loss") if key != found.metric]
    typer.echo("  also         " + "  ".join(f"{key} {number(record.metrics.get(key))}" for key in others))
    if shifted := [key for key in record.metrics if key.startswith("shifted.") and key.endswith(".auc")]:
        typer.echo("  elsewhere    " + "  ".join(f"{key} {number(record.metrics[key])}" for key in shifted))
    typer.echo(f"  params       {params or '-'}")
    typer.echo(f"  checkpoint   {short_path(record.checkpoint)}")
    typer.echo(f"  MLflow run   {record.run_id or 'not sent yet'}")
    typer.echo(f"  certain?     {verdict}")


def spaces(json: Json = False) -> None:
    """List the study files that come with the package."""
    import search_spaces

    folder = Path(search_spaces.__path__[0])
    files = sorted(folder.rglob("*.yaml"))
    if json:
        print_json([{"name": one.stem, "path": str(one)} for one in files])
        return
    for one in files:
        typer.echo(str(one))


def row_json(row: RankedRow, metric: str) -> dict[str, Any]:
    """Return a ranked trial as one JSON object."""
    record = row.record
    return {
        "study": record.study,
        "trial": record.trial,
        "rank": row.rank,
        "state": record.state.value,
        "stop_reason": record.stop_reason.value if record.stop_reason else None,
        "run_id": record.run_id,
        "metric": metric,
        "value": row.value,
        "epoch": record.epoch,
        "checkpoint": record.checkpoint,
        "params": dict(record.params),
        "metrics": dict(record.metrics),
        "seed": record.seed,
        "replicate": record.replicate,
        "point": record.point,
        "error": record.error,
    }


def _row(row: RankedRow, metrics: list[str], params: list[str]) -> list[str]:
    record = row.record
    spent = record.finished_at_s - record.started_at_s if record.finished_at_s and record.started_at_s else None
    style = STATE_STYLES[record.state.value]
    cells = [number(record.params.get(key)) for key in params]
    values = [number(record.metrics.get(key)) for key in metrics]
    state = f"[{style}]{record.state.value}[/]"
    rank = "-" if row.rank is None else str(row.rank)
    return [rank, str(record.trial), state, number(row.value), *values, number(record.epoch), *cells, duration(spent)]
