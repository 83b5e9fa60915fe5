"""The command that shows one study or one run: show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import RESULTS, Json, ReadUri, Results
from cli.output import print_json

What = Annotated[
    str | None,
    typer.Argument(
        help="A study, or one run: STUDY/TRIAL such as ablation/3, or its MLflow run id; default: the newest study.",
        metavar="[NAME|RUN]",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("show")(show)


def show(what: What = None, results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False) -> None:
    """Show one study: what was searched, how far it is, what it found; or one run whole."""
    from cli.naming import is_run_id, is_study, trial_named

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
    from cli.reading import see_study, summary_of
    from cli.showing import print_study, study_json

    study = see_study(results, name, epochs=json)
    summary = summary_of(study)
    if json:
        print_json(study_json(study, summary))
        return
    print_study(study, summary)


def _show_run(results: Path, what: str, json: bool) -> None:
    from cli.one_run import seen_run
    from cli.showing_run import print_run, run_json

    run = seen_run(results, what)
    print_json(run_json(run)) if json else print_run(run)


def _show_served_run(tracking_uri: str, what: str, json: bool) -> None:
    from cli.one_run import FEW, served_run
    from cli.showing_run import print_run, run_json

    run = served_run(tracking_uri, what, None if json else FEW)
    print_json(run_json(run)) if json else print_run(run)


def _serves_study(tracking_uri: str, name: str) -> bool:
    """Whether a server has a study of this name."""
    from study.errors import TrackingError
    from tracking.reading import query

    try:
        return query.open_study(tracking_uri, name).name == name
    except TrackingError:
        return False


def _show_served(tracking_uri: str, name: str | None, json: bool) -> None:
    from cli.ranked import rank_sources
    from cli.ranked_served import read_served
    from cli.showing import SHOWN, print_served, served_json
    from tracking.reading import query

    study = query.open_study(tracking_uri, name)
    if json:
        print_json(served_json(study))
        return
    print_served(study, rank_sources([read_served(tracking_uri, study.name, None, SHOWN)], None))
