"""Commands that only look: list, best, spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, LookAgain, Metric, Name, ReadUri, Results, moment, number, print_json
from cli.views.tables import make_table, print_table
from study.records import StudySummary

if TYPE_CHECKING:
    from cli.ranking import Ranking
    from cli.studies import DamagedStudy
    from study.analysis.ranking import RankedTrial
    from study.analysis.significance import Verdict
    from study.records import FinalLook


Register = Annotated[
    str | None,
    typer.Option(
        "--register", metavar="MODEL",
        help="Make it a version of this MLflow model; --tracking-uri then says on which server, default: the study's.",
    ),
]  # fmt: skip
Alias = Annotated[str, typer.Option("--alias", help="With --register: what to call this version of the model.")]

_DAMAGED = "damaged"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("list")(list_studies)
    app.command("show")(show)
    app.command("best")(best)
    app.command("spaces")(spaces)


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


def best(
    name: Name = None,
    metric: Metric = None,
    test: Annotated[
        bool, typer.Option("--test", help="Score it on the test images too; they are to be looked at once.")
    ] = False,
    look_again: LookAgain = False,
    register: Register = None,
    alias: Alias = "champion",
    results: Results = RESULTS,
    tracking_uri: ReadUri = None,
    json: Json = False,
) -> None:
    """Name the best checkpoint, and say whether it really is the best; with several objectives the Pareto front."""
    from cli.commands.best import (
        describe_registered,
        front_certainty,
        front_json,
        print_best,
        print_front,
        register_best,
        require_names,
    )
    from cli.ranking import ranked_rows, require_candidate, winner_of
    from cli.views.leaderboard import configuration_json, trial_json
    from study.errors import UsageError

    registry_uri, tracking_uri = (None, tracking_uri) if register is None else (tracking_uri, None)
    if test and tracking_uri:
        raise UsageError("--test needs the checkpoint and the images, so it cannot go with --tracking-uri")
    if register is not None:
        require_names(register, alias)
    found = ranked_rows(results, tracking_uri, name, metric, top=1)
    require_candidate(found)
    if found.objective_list and not test and register is None:
        if json:
            print_json({"study": found.study, "objectives": [one.model_dump() for one in found.objective_list],
                        "front": front_json(found), "certainty": {"text": front_certainty(found)}})  # fmt: skip
        else:
            print_front(found)
        return
    winner = winner_of(found)
    verdict = _verdict(found)
    looks = () if tracking_uri else _looks(results, found, winner, score=test, again=look_again)
    own = next((one for one in looks if (one.trial, one.epoch) == (winner.record.trial, winner.record.epoch)), None)
    done = None
    if register is not None:
        done = register_best(
            results, found, winner, verdict.text, looks, name=register, alias=alias, tracking_uri=registry_uri
        )
    if json:
        first = found.configurations[0] if found.configurations else None
        row = configuration_json(first, found) if first else trial_json(winner, found)
        print_json({**row, "certainty": asdict(verdict), "test": own and asdict(own),
                    "test_looks": [asdict(one) for one in looks], "registered": done and asdict(done)})  # fmt: skip
        return
    print_best(found, winner, verdict.text)
    _print_looks(looks, own)
    if done is not None:
        typer.echo(describe_registered(done))


def _verdict(found: Ranking) -> Verdict:
    if found.configurations:
        from study.analysis.significance import judge_configurations

        return judge_configurations(found.configurations, found.mode, found.class_counts)
    from study.analysis.significance import judge_best

    return judge_best(found.rows, found.metric, found.class_counts)


def _print_looks(looks: tuple[FinalLook, ...], own: FinalLook | None) -> None:
    if own is not None:
        from cli.commands.best import describe_test_evaluations

        scored = "  ".join(f"{key} {number(own.metrics.get(key))}" for key in ("auc", "accuracy", "f1", "loss"))
        typer.echo(f"  test images  {scored}  ({describe_test_evaluations(looks, own)})")
    elif looks:
        typer.echo(f"  test images  scored for trial {looks[-1].trial}, not for this one")


def _looks(results: Path, found: Ranking, winner: RankedTrial, *, score: bool, again: bool) -> tuple[FinalLook, ...]:
    """Return the looks at the test images, after one at the winner if asked."""
    if not score:
        return found.looks
    from cli.commands.best import evaluate_on_test, refreshed_study, require_first_test_evaluation
    from cli.studies import open_study

    study = open_study(results, found.study)
    require_first_test_evaluation(study, winner, again=again)
    from study.data import load_data

    data = load_data(study.storage.spec.data)
    study.storage.require_data(data.summary.fingerprint)
    evaluate_on_test(results, study, found, winner, data.test.images, data.test.labels, again=again)
    return refreshed_study(study).storage.looks


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
