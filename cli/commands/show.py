"""Commands that only look: list, best, spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, ReadUri, Results
from cli.output import moment, number, print_json
from cli.views.tables import make_table, print_table
from study.records import StudySummary

if TYPE_CHECKING:
    from cli.studies import DamagedStudy


_DAMAGED = "damaged"


def list_studies(results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """List the studies, the newest first."""
    from cli.studies import DamagedStudy, summaries

    found: Sequence[StudySummary | DamagedStudy]
    if tracking_uri:
        from tracking.reader import queries as query

        found = query.studies(tracking_uri)
    else:
        found = summaries(results)
    if json:
        print_json([_summary_json(one) for one in found])
    elif not found:
        typer.echo(f"no study in {'the server' if tracking_uri else results} yet; `study run FILE` makes one")
    else:
        columns = ["name", "state", "trials", "complete", "pruned", "failed", "running", "best", "metric", "begun"]
        rows = [_summary_row(one) for one in found]
        print_table(make_table(columns, rows, right=columns[2:8], folds=("name", "metric")))
    for one in found:
        if isinstance(one, DamagedStudy):
            typer.echo(f"{one.name}: {one.reason}", err=True)


def _summary_json(one: StudySummary | DamagedStudy) -> dict[str, Any]:
    """Return what is known of a study; of a damaged one nothing is, but it has the same keys."""
    if isinstance(one, StudySummary):
        return asdict(one)
    return {**dict.fromkeys(field.name for field in fields(StudySummary)), "name": one.name, "state": _DAMAGED}


def _summary_row(one: StudySummary | DamagedStudy) -> list[str]:
    if not isinstance(one, StudySummary):
        return [one.name, _DAMAGED, *["-"] * 8]
    return [one.name, one.state, f"{one.trials}/{one.planned}", str(one.complete), str(one.pruned), str(one.failed),
            str(one.running), number(one.best), one.metric, moment(one.created_at_s)]  # fmt: skip


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


What = Annotated[
    str | None,
    typer.Argument(
        help="A study, or one run: STUDY/TRIAL such as ablation/3, or its MLflow run id; default: the newest study.",
        metavar="[NAME|RUN]",
    ),
]


def show(what: What = None, results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """Show one study: what was searched, how far it is, what it found; or one run whole."""
    from cli.studies import is_run_id, is_study, trial_named

    is_run = what is not None and (trial_named(what) is not None or is_run_id(what))
    if tracking_uri:
        if is_run and what is not None and not _serves_study(tracking_uri, what):
            _show_served_run(tracking_uri, what, json)
        else:
            _show_served(tracking_uri, what, json)
    elif is_run and what is not None and not is_study(results, what):
        _show_run(results, what, json)
    else:
        _show_study(results, what, json)


def _show_study(results: Path, name: str | None, json: bool) -> None:
    from cli.studies import see_study, summary_of
    from cli.views.study import print_study, study_json

    study = see_study(results, name, epochs=json)
    summary = summary_of(study)
    if json:
        print_json(study_json(study, summary))
        return
    print_study(study, summary)


def _show_run(results: Path, what: str, json: bool) -> None:
    from cli.views.run import local_run, print_run, run_json

    run = local_run(results, what)
    print_json(run_json(run)) if json else print_run(run)


def _show_served_run(tracking_uri: str, what: str, json: bool) -> None:
    from cli.views.run import FEW, print_run, run_json, served_run

    run = served_run(tracking_uri, what, None if json else FEW)
    print_json(run_json(run)) if json else print_run(run)


def _serves_study(tracking_uri: str, name: str) -> bool:
    """Whether a server has a study of this name."""
    from study.errors import TrackingError
    from tracking.reader import queries as query

    try:
        return query.open_study(tracking_uri, name).name == name
    except TrackingError:
        return False


def _show_served(tracking_uri: str, name: str | None, json: bool) -> None:
    from cli.ranking import rank_sources, read_served
    from cli.views.study import SHOWN, print_served, served_json
    from tracking.reader import queries as query

    study = query.open_study(tracking_uri, name)
    if json:
        print_json(served_json(study))
        return
    print_served(study, rank_sources([read_served(tracking_uri, study.name, None, SHOWN)], None))
