"""The command that names the best checkpoint, judges its lead, and may score or register it: best."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.results.registration import describe_registered, register_best
from cli.queries.final_look import (
    describe_test_evaluations,
    describe_value_on_test,
    evaluate_on_test,
    fault_of_checkpoint,
    look_at,
    require_first_test_evaluation,
    value_on_test,
)
from cli.options import (
    RESULTS,
    GiveAway,
    Json,
    LookAgain,
    Metric,
    Name,
    Prefer,
    ReadUri,
    Recommended,
    Results,
    StorageOf,
)
from cli.output import number, print_json, short_path
from cli.queries.front import FrontVerdict, judge_front
from cli.queries.ranking import Ranking, rank_studies, require_candidate, winner_of
from cli.queries.server_queries import read_ranked
from cli.queries.study_handle import StudyInFolder, open_study
from cli.queries.verdict import describe_certainty, judge_ranking, recommend_of
from cli.views.leaderboard import configuration_json, configuration_table, trial_json, trial_table
from cli.views.tables import TableModel, print_table
from study.analysis.recommendation import GIVE_AWAY
from study.errors import UsageError

if TYPE_CHECKING:
    from study.analysis.ranking import Configuration, RankedTrial
    from study.records import FinalLook, TrialRecord

Register = Annotated[
    str | None,
    typer.Option(
        "--register", metavar="MODEL",
        help="Make it a version of this MLflow model; --tracking-uri then says on which server, default: the study's.",
    ),
]  # fmt: skip
Threshold = Annotated[
    str,
    typer.Option(
        "--threshold", metavar="RULE",
        help="With --register: of the calibrated probability, chosen on validation: 0.5, balanced or recall=0.99.",
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
    threshold: Threshold = "0.5",
    results: Results = RESULTS,
    tracking_uri: ReadUri = None,
    recommended: Recommended = False,
    prefer: Prefer = "parameters",
    give_away: GiveAway = GIVE_AWAY,
    storage: StorageOf = None,
    path: Annotated[bool, typer.Option("--path", help="Print the path of the checkpoint, nothing else.")] = False,
    json: Json = False,
) -> None:
    """Name the best checkpoint, say whether it really is the best, and recommend it or a cheaper one as good.

    With several objectives it shows the Pareto front.

    Where the checkpoint it names is gone or damaged, it says so; with --path it then ends with exit code 1.
    """
    if threshold != "0.5" and register is None:
        raise UsageError(f"--threshold {threshold} goes with --register NAME; `export-best` has one of its own")
    registry_uri, tracking_uri = (None, tracking_uri) if register is None else (tracking_uri, None)
    if test and tracking_uri:
        raise UsageError("--test needs the checkpoint and the images, so it cannot go with --tracking-uri")
    if register is not None:
        from study.export.calibration import parse_rule
        from tracking.models.model_registry import require_names

        require_names(register, alias)
        parse_rule(threshold)
    handle = read_ranked(results, tracking_uri, name, metric, top=1)
    ranking, stored = rank_studies([handle], metric), handle if isinstance(handle, StudyInFolder) else None
    require_candidate(ranking)
    if ranking.objective_list and not test and register is None and not path:
        front = judge_front(ranking, None if tracking_uri else results)
        if json:
            objectives = [objective.model_dump() for objective in ranking.objective_list]
            print_json({"study": ranking.study, "objectives": objectives, "front": front_json(ranking, front.on_front),
                        "may_be_on_front": front_json(ranking, front.others),
                        "certainty": {"text": front.text, "may_be_on_front": list(front.may_be)}})  # fmt: skip
        else:
            print_front(ranking, front)
        if stored is not None:
            _warn_of_lost(stored, front_records(ranking))
        return
    winner = winner_of(ranking)
    verdict = judge_ranking(ranking, None if tracking_uri else results)
    certainty = describe_certainty(ranking, verdict)
    advice = None if verdict is None else recommend_of(ranking, verdict, prefer, give_away)
    first = ranking.configurations[0] if ranking.configurations else None
    if recommended and advice is not None:
        winner, first = advice.winner, advice.configuration
    looks = () if tracking_uri else _looks(results, ranking, winner, score=test, again=look_again, storage=storage)
    own, done = look_at(looks, winner), None
    tested = None if own is None else value_on_test(open_study(results, ranking.study), own)
    if register is not None:
        done = register_best(
            results,
            ranking,
            winner,
            certainty["text"] if advice is None else f"{certainty['text']}; recommended: {advice.text}",
            looks,
            name=register,
            alias=alias,
            tracking_uri=registry_uri,
            storage=storage,
            threshold=threshold,
        )
    fault = None if stored is None else fault_of_checkpoint(stored, winner.record)
    if path:
        typer.echo(winner.record.checkpoint)
        _warn_of(fault)
        raise typer.Exit(fault is not None)
    if json:
        row = configuration_json(ranking, first) if first else trial_json(ranking, winner)
        print_json({**row, "certainty": certainty, "recommended": advice and advice.as_json(),
                    "test": own and {**asdict(own), "interval": tested and asdict(tested)},
                    "test_looks": [asdict(look) for look in looks], "registered": done and asdict(done),
                    "checkpoint_fault": fault})  # fmt: skip
        _warn_of(fault)
        return
    print_best(ranking, winner, certainty, first)
    if advice is not None and certainty["lead"] is not None:
        typer.echo(f"  recommended  {advice.text}")
    _print_looks(looks, own)
    if own is not None and tested is not None:
        typer.echo(f"  {describe_value_on_test(looks, own, tested)}")
    if done is not None:
        typer.echo(describe_registered(done))
    _warn_of(fault)


def _warn_of(fault: str | None) -> None:
    if fault is not None:
        typer.echo(f"warning: {fault}", err=True)


def _warn_of_lost(study: StudyInFolder, records: Sequence[TrialRecord]) -> None:
    for record in records:
        _warn_of(fault_of_checkpoint(study, record))


def _print_looks(looks: tuple[FinalLook, ...], own: FinalLook | None) -> None:
    if own is not None:
        scored = "  ".join(f"{key} {number(own.metrics.get(key))}" for key in ("auc", "accuracy", "f1", "loss"))
        typer.echo(f"  test images  {scored}  ({describe_test_evaluations(looks, own)})")
    elif looks:
        typer.echo(f"  test images  scored for trial {looks[-1].trial}, not for this one")


def _looks(
    results: Path, ranking: Ranking, winner: RankedTrial, *, score: bool, again: bool, storage: str | None
) -> tuple[FinalLook, ...]:
    """Return the looks at the test images, after one at the winner if asked."""
    if not score:
        return ranking.looks

    study = open_study(results, ranking.study)
    require_first_test_evaluation(study.looks, winner, again=again)
    from study.data import load_data
    from study.storage.data_changes import require_same_data

    data = load_data(study.view.spec.data)
    require_same_data(study.view, study.layout, data)
    evaluate_on_test(results, study, ranking, winner, data.test, again=again, storage=storage)
    return open_study(results, ranking.study).looks


def print_best(
    ranking: Ranking, winner: RankedTrial, certainty: Mapping[str, Any], configuration: Configuration | None = None
) -> None:
    """Print the winning checkpoint, or the recommended one, and how sure the place of the best is."""
    record = winner.record
    if ranking.configurations:
        metrics = _print_configuration(ranking, configuration or ranking.configurations[0])
    else:
        word = "best" if winner.rank == 1 else "recommended"
        typer.echo(f"{word} of {ranking.study} by {ranking.metric}: trial {record.trial} ({record.state})")
        typer.echo(f"  {ranking.metric:12s} {number(winner.value, 5)} at epoch {record.epoch} of {record.epochs_run}")
        metrics = record.metrics
    others = [key for key in ("val_auc", "val_accuracy", "val_f1", "val_loss") if key != ranking.metric]
    typer.echo("  also         " + "  ".join(f"{key} {number(metrics.get(key))}" for key in others))
    if shifted := [key for key in metrics if key.startswith("shifted.") and key.endswith(".auc")]:
        typer.echo("  elsewhere    " + "  ".join(f"{key} {number(metrics[key])}" for key in shifted))
    params = "  ".join(f"{key}={number(value)}" for key, value in record.params.items())
    typer.echo(f"  params       {params or '-'}")
    typer.echo(f"  checkpoint   {short_path(record.checkpoint)}{_of_trial(ranking, winner)}")
    if record.kept is False:
        typer.echo(f"  weights      not kept (keep.per_study); {_rerun(ranking, record)} makes them again")
    typer.echo(f"  MLflow run   {record.run_id or 'not sent yet'}")
    if expected := certainty.get("winner_value"):
        ends = f"({number(expected['low'])} to {number(expected['high'])})"
        typer.echo(f"  to expect    {number(expected['corrected'])} {ends} on images like these, as it was picked")
    typer.echo(f"  certain?     {certainty['text']}")


def front_records(ranking: Ranking) -> list[TrialRecord]:
    """Return the trials whose checkpoints stand for the members of the front."""
    if not ranking.configurations:
        return [row.record for row in ranking.rows if row.rank == 1]
    front = [configuration for configuration in ranking.configurations if configuration.rank == 1]
    return [configuration.best for configuration in front if configuration.best is not None]


def print_front(ranking: Ranking, verdict: FrontVerdict) -> None:
    """Print the Pareto front as measured, and what may be on it besides; there is no single winner."""
    print_table(_table_of(ranking, verdict.on_front))
    if verdict.others:
        print_table(replace(_table_of(ranking, verdict.others), title="may be on the front as well:"))
    records = front_records(ranking)
    lost = [record for record in records if record.kept is False]
    if lost:
        numbers = ", ".join(str(record.trial) for record in lost)
        typer.echo(f"weights not kept (keep.per_study): trial {numbers}; {_rerun(ranking, lost[0])} makes them again")
    typer.echo(f"certain?  {verdict.text}")
    if len(records) > 1:
        pick = f"`{ranking.command('best')} --metric {ranking.metric}` picks one"
        typer.echo(f"each of the front is the better one by some objective, or as good; {pick}")


def _table_of(ranking: Ranking, keys: Sequence[int]) -> TableModel:
    if ranking.configurations:
        return configuration_table(ranking, [each for each in ranking.configurations if each.point in keys], [])
    return trial_table(ranking, [row for row in ranking.rows if row.record.trial in keys], [])


def front_json(ranking: Ranking, keys: Sequence[int]) -> list[dict[str, object]]:
    """Return these points or trials as JSON objects."""
    if ranking.configurations:
        return [configuration_json(ranking, each) for each in ranking.configurations if each.point in keys]
    return [trial_json(ranking, row) for row in ranking.rows if row.record.trial in keys]


def _print_configuration(ranking: Ranking, best: Configuration) -> Mapping[str, float]:
    ran = f"{best.complete} of {best.planned} seeds ran to the end"
    word = "best" if best.rank == 1 else "recommended"
    typer.echo(f"{word} of {ranking.study} by mean {ranking.metric}: configuration {best.point} ({ran})")
    spread = "" if best.sd is None else f", standard deviation {number(best.sd, 5)} between seeds"
    typer.echo(f"  {ranking.metric:12s} {number(best.mean, 5)} mean{spread}")
    means = {key: best.mean_of(key) for key in best.counted[0].metrics}
    return {key: value for key, value in means.items() if value is not None}


def _of_trial(ranking: Ranking, winner: RankedTrial) -> str:
    if not ranking.configurations:
        return ""
    record = winner.record
    return (
        f" (trial {record.trial}, {ranking.seed_word} {ranking.seed_of(record)}: the best of them, "
        f"{number(winner.value, 5)} at epoch {record.epoch} of {record.epochs_run})"
    )


def _rerun(ranking: Ranking, record: TrialRecord) -> str:
    run = shlex.quote(f"{record.study}/{record.trial}")
    return f"`study rerun {run}{ranking.folder_options} --save DIR`"
