"""Commands that only look: list, show, spaces."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, ReadUri, Results
from cli.output import moment, number, print_json
from cli.views.tables import make_table, print_table
from study.records import StudySummary

if TYPE_CHECKING:
    from cli.queries.study_handle import DamagedStudy


_DAMAGED = "damaged"


def list_studies(results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """List the studies, the newest first."""
    from cli.queries.study_handle import DamagedStudy, study_summaries

    summaries = study_summaries(results, tracking_uri)
    if json:
        print_json([_summary_json(summary) for summary in summaries])
    elif not summaries:
        typer.echo(f"no study in {'the server' if tracking_uri else results} yet; `study run FILE` makes one")
    else:
        columns = ["name", "state", "trials", "complete", "pruned", "failed", "running", "best", "metric", "begun"]
        rows = [_summary_row(summary) for summary in summaries]
        print_table(make_table(columns, rows, right=columns[2:8], folds=("name", "metric")))
    for summary in summaries:
        if isinstance(summary, DamagedStudy):
            typer.echo(f"{summary.name}: {summary.reason}", err=True)


def _summary_json(summary: StudySummary | DamagedStudy) -> dict[str, Any]:
    """Return what is known of a study; of a damaged one nothing is, but it has the same keys."""
    if isinstance(summary, StudySummary):
        return asdict(summary)
    return {**dict.fromkeys(field.name for field in fields(StudySummary)), "name": summary.name, "state": _DAMAGED}


def _summary_row(summary: StudySummary | DamagedStudy) -> list[str]:
    if not isinstance(summary, StudySummary):
        return [summary.name, _DAMAGED, *["-"] * 8]
    counts = (summary.complete, summary.pruned, summary.failed, summary.running)
    return [summary.name, summary.state, f"{summary.trials}/{summary.planned}", *map(str, counts),
            number(summary.best), summary.metric, moment(summary.created_at_s)]  # fmt: skip


def spaces(json: Json = False) -> None:
    """List the study files that come with the package."""
    import search_spaces

    folder = Path(search_spaces.__path__[0])
    files = sorted(folder.rglob("*.yaml"))
    if json:
        print_json([{"name": file.stem, "path": str(file)} for file in files])
        return
    for file in files:
        typer.echo(str(file))


What = Annotated[
    str | None,
    typer.Argument(
        help="A study, or one run: STUDY/TRIAL such as ablation/3, or its MLflow run id; default: the newest study.",
        metavar="[NAME|RUN]",
    ),
]


def show(what: What = None, results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """Show one study: what was searched, how far it is, what it found; or one run whole."""
    from cli.views.run import FEW, print_run, read_run, run_json
    from cli.views.study import print_study, study_json

    if what is not None and _is_run(results, tracking_uri, what):
        run = read_run(results, tracking_uri, what, None if json else FEW)
        print_json(run_json(run)) if json else print_run(run)
    elif json:
        print_json(study_json(results, tracking_uri, what))
    else:
        print_study(results, tracking_uri, what)


def _is_run(results: Path, tracking_uri: str | None, text: str) -> bool:
    """Whether a text names a run, and no study has that name."""
    from cli.queries.trial_names import is_run_id, is_study, trial_named
    from study.errors import TrackingError

    if trial_named(text) is None and not is_run_id(text):
        return False
    if not tracking_uri:
        return not is_study(results, text)
    from tracking.reader import queries

    try:
        return queries.open_study(tracking_uri, text).name != text
    except TrackingError:
        return True
