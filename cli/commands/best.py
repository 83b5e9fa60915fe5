"""The command that names the best checkpoint, judges its lead, and may score or register it: best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import RESULTS, Json, LookAgain, Metric, Name, ReadUri, Results
from cli.output import number, print_json, short_path
from cli.ranking import Ranking, ranked_rows, require_candidate, winner_of
from cli.studies import open_study
from cli.test_evaluation import (
    describe_test_evaluations,
    evaluate_on_test,
    require_first_test_evaluation,
    weights_folder,
)
from cli.views.leaderboard import configuration_json, configuration_table, trial_json, trial_table
from cli.views.tables import as_table, print_table
from study.errors import UsageError

if TYPE_CHECKING:
    from study.analysis.ranking import Configuration, RankedTrial
    from study.analysis.significance import Verdict
    from study.records import FinalLook, TrialRecord
    from tracking.models.registry import Registered

Register = Annotated[
    str | None,
    typer.Option(
        "--register", metavar="MODEL",
        help="Make it a version of this MLflow model; --tracking-uri then says on which server, default: the study's.",
    ),
]  # fmt: skip
Alias = Annotated[str, typer.Option("--alias", help="With --register: what to call this version of the model.")]


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
        row = configuration_json(found, first) if first else trial_json(found, winner)
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
        scored = "  ".join(f"{key} {number(own.metrics.get(key))}" for key in ("auc", "accuracy", "f1", "loss"))
        typer.echo(f"  test images  {scored}  ({describe_test_evaluations(looks, own)})")
    elif looks:
        typer.echo(f"  test images  scored for trial {looks[-1].trial}, not for this one")


def _looks(results: Path, found: Ranking, winner: RankedTrial, *, score: bool, again: bool) -> tuple[FinalLook, ...]:
    """Return the looks at the test images, after one at the winner if asked."""
    if not score:
        return found.looks

    study = open_study(results, found.study)
    require_first_test_evaluation(study.looks, winner, again=again)
    from study.data import load_data

    data = load_data(study.view.spec.data)
    study.view.require_data(data.summary.fingerprint)
    evaluate_on_test(results, study, found, winner, data.test.images, data.test.labels, again=again)
    return open_study(results, found.study).looks


def register_best(
    results: Path,
    found: Ranking,
    winner: RankedTrial,
    verdict: str,
    looks: tuple[FinalLook, ...],
    *,
    name: str,
    alias: str,
    tracking_uri: str | None,
) -> Registered:
    """Send MLflow what it lacks of a study, and make its best checkpoint a version of a registered model.

    Args:
        results: the results folder.
        found: the ranking.
        winner: the trial that wins it.
        verdict: how sure its lead is.
        looks: the looks at the test images.
        name: of the registered model.
        alias: of the version.
        tracking_uri: the server; None means that of the study.

    Raises:
        ExportError: the weights were not kept, or are damaged.
        TrackingError: the server is away, refuses, or does not know the trial.
    """
    from study.paths import Layout
    from study.storage.lock import is_driven
    from tracking.exporter.sync import sync
    from tracking.models.description import SelectedCheckpoint
    from tracking.models.registry import register
    from tracking.run_ids import tracking_uri_of
    from tracking.tracking_uri import default_tracking_uri

    layout = Layout(results)
    study = layout.study(found.study)
    uri = default_tracking_uri(layout, tracking_uri_of(study, tracking_uri))
    if not is_driven(study):  # the driver of a running study sends what there is itself
        sync(layout, study, uri)
    own = next((one for one in looks if (one.trial, one.epoch) == (winner.record.trial, winner.record.epoch)), None)
    assert winner.value is not None
    choice = SelectedCheckpoint(
        trial=winner.record.trial, metric=found.metric, value=winner.value,
        candidates=sum(row.rank is not None for row in found.rows), verdict=verdict,
        configuration=_configuration(found), look=own, look_text=describe_test_evaluations(looks, own) if own else "",
    )  # fmt: skip
    return register(study, uri, name, alias, choice, lambda: weights_folder(winner.record), _export)


def require_names(name: str, alias: str) -> None:
    """Make sure that MLflow takes the name of a model and its alias.

    Raises:
        UsageError: it does not.
    """
    require(name, alias)


def describe_registered(done: Registered) -> str:
    """Say in one line what was registered."""
    made = "" if done.is_new else ", which it was already"
    return f"  registered   {done.name} version {done.version} as {done.alias}{made}: {done.uri} at {done.tracking_uri}"


def _configuration(found: Ranking) -> str:
    if not found.configurations:
        return ""
    best = found.configurations[0]
    return (
        f"It is the best seed of configuration {best.point}, which was chosen by its mean `{found.metric}` of "
        f"{number(best.mean, 5)} over {best.complete} of {best.planned} seeds."
    )


def _export(checkpoint: Path, file: Path) -> str:
    from study.export import export_graph

    return export_graph(checkpoint, file)


def print_best(found: Ranking, winner: RankedTrial, verdict: str) -> None:
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


def print_front(found: Ranking) -> None:
    """Print the Pareto front; there is no single winner."""
    if found.configurations:
        whole = [one for one in found.configurations if one.rank == 1]
        print_table(as_table(configuration_table(found, whole, [])))
        records = [one.best for one in whole if one.best is not None]
    else:
        rows = [row for row in found.rows if row.rank == 1]
        print_table(as_table(trial_table(found, rows, [])))
        records = [row.record for row in rows]
    lost = [record for record in records if record.kept is False]
    if lost:
        numbers = ", ".join(str(record.trial) for record in lost)
        typer.echo(f"weights not kept (keep.per_study): trial {numbers}; {_rerun(lost[0])} makes them again")
    typer.echo(f"certain?  {front_certainty(found)}")
    if len(records) > 1:
        pick = f"`study best {found.study} --metric {found.metric}` picks one"
        typer.echo(f"each of them is the better one by some objective, or as good; {pick}")


def front_json(found: Ranking) -> list[dict[str, object]]:
    """Return the members of the front as JSON objects."""
    if found.configurations:
        return [configuration_json(found, one) for one in found.configurations if one.rank == 1]
    return [trial_json(found, row) for row in found.rows if row.rank == 1]


def front_certainty(found: Ranking) -> str:
    """Say what the front takes for granted."""
    if not found.configurations:
        return "not known: each configuration ran once, and the front takes its values as they are"
    return f"not known: the front compares means over up to {found.replicates} seeds, and not their spread"


def _print_configuration(found: Ranking, best: Configuration) -> Mapping[str, float]:
    ran = f"{best.complete} of {best.planned} seeds ran to the end"
    typer.echo(f"best of {found.study} by mean {found.metric}: configuration {best.point} ({ran})")
    spread = "" if best.sd is None else f", standard deviation {number(best.sd, 5)} between seeds"
    typer.echo(f"  {found.metric:12s} {number(best.mean, 5)} mean{spread}")
    means = {key: best.mean_of(key) for key in best.counted[0].metrics}
    return {key: value for key, value in means.items() if value is not None}


def _of_trial(found: Ranking, winner: RankedTrial) -> str:
    if not found.configurations:
        return ""
    record = winner.record
    return (
        f" (trial {record.trial}, {found.seed_word} {found.seed_of(record)}: the best of them, "
        f"{number(winner.value, 5)} at epoch {record.epoch} of {record.epochs_run})"
    )


def _rerun(record: TrialRecord) -> str:
    return f"`study rerun {record.run_id or 'RUN_ID'}`"
