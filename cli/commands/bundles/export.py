"""The command export-best: a bundle of the best checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import (
    RESULTS,
    GiveAway,
    Json,
    LookAgain,
    Metric,
    Name,
    Prefer,
    Recommended,
    Results,
    StorageOf,
    folder_option,
)
from cli.output import print_json
from study.analysis.recommendation import GIVE_AWAY
from study.errors import UsageError

if TYPE_CHECKING:
    from cli.queries.ranking import Ranking
    from cli.queries.study_handle import StudyInFolder
    from study.analysis.ranking import RankedTrial
    from study.data.dataset import DataBundle
    from study.export import ExportResult, FinalScores

Formats = Annotated[str, typer.Option("--formats", help="Of the model beside safetensors.", metavar="LIST")]
PrecisionOf = Annotated[
    str, typer.Option("--precision", help="Of the ONNX model: fp32, fp16 or int8.", metavar="PRECISION")
]
Threshold = Annotated[
    str,
    typer.Option(
        "--threshold", metavar="RULE",
        help="Of the calibrated probability, chosen on validation: 0.5, balanced or recall=0.99.",
    ),
]  # fmt: skip


def export_best(
    name: Name = None,
    metric: Metric = None,
    out: Annotated[Path, folder_option("--out", help="A new or empty folder for the bundle.")] = Path("bundle"),
    formats: Formats = "onnx,pt2",
    precision: PrecisionOf = "fp32",
    threshold: Threshold = "0.5",
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="Of this trial instead of the best: STUDY/TRIAL, or an MLflow run id.", metavar="RUN"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the weights, for the card: mit, cc-by-4.0 ...", metavar="ID")
    ] = None,
    data: Annotated[
        Path | None,
        folder_option("--data", help="Where the study's pictures are now, if elsewhere."),
    ] = None,
    look_again: LookAgain = False,
    recommended: Recommended = False,
    prefer: Prefer = "parameters",
    give_away: GiveAway = GIVE_AWAY,
    storage: StorageOf = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Write the best checkpoint as a folder somebody can deploy, after loading it again and checking its scores.

    Each format is loaded in a fresh process and run on all validation images; one that does not give the
    checkpoint's scores is deleted and named, and the exit code is 1. Where the pictures are gone, only the stored
    scores are checked.
    """
    from cli.queries.bundle_facts import provenance, study_facts
    from cli.queries.final_look import weights_folder
    from cli.queries.study_handle import open_study
    from cli.queries.verdict import judge_ranking, recommend_of
    from study.engine.driver_process import preserve_handlers, quit_on_signals
    from study.export import ExportOptions, export_checkpoint, parse_formats, parse_precision, require_empty_folder
    from study.export.calibration import parse_rule
    from study.metric_catalog import SHIFTED_METRIC_PREFIX

    if recommended and run is not None:
        raise UsageError("--recommended chooses the trial itself, so it cannot go with --run")
    parse_rule(threshold)
    options = ExportOptions(parse_formats(formats), parse_precision(precision), threshold, overwrite, licence)
    require_empty_folder(out, overwrite=overwrite)
    ranking, winner, is_best = _chosen(results, name, metric, run)
    is_chosen, verdict = is_best, judge_ranking(ranking, results) if recommended else None
    advice = None if verdict is None else recommend_of(ranking, verdict, prefer, give_away)
    if advice is not None:
        winner, is_best, is_chosen = advice.winner, advice.is_leader, True
    study = open_study(results, ranking.study)
    record = winner.record
    checkpoint = weights_folder(study, record, storage)
    pictures, gone = _pictures(study, data)
    test = _test(results, study, ranking, winner, pictures, gone, is_best=is_chosen, again=look_again, storage=storage)
    shifted = {name: value for name, value in record.metrics.items() if name.startswith(SHIFTED_METRIC_PREFIX)}
    with preserve_handlers():
        quit_on_signals()  # so that SIGTERM leaves nothing behind either
        bundle = export_checkpoint(
            checkpoint, out, None if pictures is None else pictures.val.images, provenance(study, ranking, record),
            test, shifted, training_images=None if pictures is None else pictures.train.images, options=options,
            facts=study_facts(study, results, ranking, winner, is_best=is_best),
        )  # fmt: skip
    if json:
        print_json({"out": str(out), "study": ranking.study, "trial": record.trial, "run_id": record.run_id,
                    "metric": ranking.metric, "value": winner.value, "recommended": advice and advice.as_json(),
                    "max_score_difference": bundle.max_score_difference, "formats": list(map(asdict, bundle.checks)),
                    "test": asdict(test), "files": [str(file) for file in bundle.files]})  # fmt: skip
    else:
        typer.echo(f"wrote {out}: trial {record.trial} of {ranking.study}, {ranking.metric} {winner.value:.5f}")
        if advice is not None:
            typer.echo(f"recommended: {advice.text}")
        _print(bundle, None if pictures is None else len(pictures.val), test, gone)
    if bundle.failed:
        raise typer.Exit(1)


def _chosen(results: Path, name: str | None, metric: str | None, run: str | None) -> tuple[Ranking, RankedTrial, bool]:
    """Return the ranking, the trial to export and whether it is the best."""
    from cli.queries.ranking import rank_study, require_best, winner_of
    from cli.queries.trial_names import find_trial
    from study.analysis.ranking import RankedTrial, has_checkpoint
    from study.errors import ExportError

    if run is None:
        return *require_best(results, None, name, metric), True
    study, record = find_trial(results, run)
    if name is not None and study.name != name:
        raise UsageError(f"--run {run} is a trial of `{study.name}`, not of `{name}`; leave the name out")
    if not has_checkpoint(record):
        raise ExportError(f"a bundle needs a trial that ended with a checkpoint, but trial {record.trial} has none")
    ranking = rank_study(results, None, study.name, metric)
    chosen = next((row for row in ranking.rows if row.record.trial == record.trial), None)
    winner = chosen or RankedTrial(None, record.metrics.get(ranking.metric), record)
    is_best = not ranking.objective_list and winner_of(ranking).record.trial == record.trial
    return ranking, winner, is_best


def _test(
    results: Path,
    study: StudyInFolder,
    ranking: Ranking,
    winner: RankedTrial,
    pictures: DataBundle | None,
    gone: str,
    *,
    is_best: bool,
    again: bool,
    storage: str | None,
) -> FinalScores:
    """Return what is known of the test images; only the chosen checkpoint is scored on them."""
    from cli.queries.final_look import final_scores, look_at
    from study.export import FinalScores

    if pictures is None:
        return FinalScores(f"not scored: {gone}")
    if not is_best and not again and look_at(study.looks, winner) is None:
        return FinalScores("not scored, as they are kept for the best checkpoint; --look-again scores this one")
    return final_scores(results, study, ranking, winner, pictures.test, again=again, storage=storage)


def _print(bundle: ExportResult, validation: int | None, test: FinalScores, gone: str) -> None:
    from cli.views.bundle import format_table
    from cli.views.tables import print_table

    if validation is None:
        typer.echo(f"parity was checked on stored scores only: {gone}; --data DIR names where the pictures are now")
    else:
        difference = bundle.max_score_difference
        typer.echo(f"loaded again and scored {validation} validation images: largest difference {difference:.2g}")
    shown = "  ".join(f"{key} {test.metrics[key]:.4f}" for key in ("auc", "accuracy", "f1") if key in test.metrics)
    typer.echo(f"test images: {shown + '; ' if shown else ''}{test.note}")
    print_table(format_table(bundle.checks))
    for check in bundle.failed:
        typer.echo(f"deleted {check.file} ({check.precision}): {check.fault}", err=True)
    for file in bundle.files:
        typer.echo(f"  {file}")


def _pictures(study: StudyInFolder, folder: Path | None) -> tuple[DataBundle | None, str]:
    """Return the pictures of a study; where they are gone from its own folder, None and the reason.

    Raises:
        DataError: the named folder cannot be used.
        StudyStorageError: these are not the pictures the study began on.
    """
    from study.data import load_data
    from study.errors import DataError
    from study.storage.data_changes import require_same_data

    spec = study.view.spec.data
    if folder is not None:
        spec = spec.model_copy(update={"path": str(folder.absolute())})
    try:
        pictures = load_data(spec)
    except DataError as error:
        if folder is not None:
            raise
        return None, f"the pictures cannot be read ({error})"
    require_same_data(study.view, study.layout, pictures)
    return pictures, ""
