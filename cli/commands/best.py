"""Score the chosen checkpoint on the test images: once, and remembered."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from numpy.typing import NDArray

from cli.options import moment, number, short_path
from cli.ranking import Ranking
from cli.studies import OpenStudy
from cli.views.leaderboard import configuration_json, configuration_sheet, trial_json, trial_sheet
from cli.views.tables import as_table, print_table
from study.analysis.ranking import Configuration, RankedTrial
from study.errors import ExportError, StudyStorageError
from study.records import FinalLook, TrialRecord

if TYPE_CHECKING:
    from study.export import FinalScores
    from tracking.models.registry import Registered


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
    from tracking.models.registry import require_names as require

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


SEND_TIMEOUT_S = 20.0


def find_test_evaluation(study: OpenStudy, winner: RankedTrial) -> FinalLook | None:
    """Return the look at the test images that a checkpoint had."""
    record = winner.record
    return next((one for one in study.storage.looks if (one.trial, one.epoch) == (record.trial, record.epoch)), None)


def require_first_test_evaluation(study: OpenStudy, winner: RankedTrial, *, again: bool) -> None:
    """Make sure that the test images were not looked at for another checkpoint.

    Raises:
        StudyStorageError: they were, and nobody said --look-again.
    """
    others = [
        one for one in study.storage.looks if one.trial != winner.record.trial or one.epoch != winner.record.epoch
    ]
    if others and not again:
        raise StudyStorageError(
            f"the test images are looked at once, but were scored with trial {others[-1].trial} on "
            f"{moment(others[-1].at_s)}; whoever chooses again after that chooses by the test images. "
            "--look-again does it, and the record will say so"
        )


def weights_folder(record: TrialRecord) -> Path:
    """Return the selected checkpoint of a trial as a folder of this machine that holds its weights.

    Raises:
        ExportError: the weights were not kept.
        StorageError: they cannot be copied here.
    """
    from study.utils.remote_files import download_checkpoint

    assert record.checkpoint is not None
    if record.kept is False:
        raise ExportError(
            f"the weights of trial {record.trial} of `{record.study}` were deleted, because it is not among the trials "
            f"that `keep: per_study` says; `study rerun {record.run_id or 'RUN_ID'}` makes them again, "
            "`keep: {per_study: all}` in a study file keeps those of every trial"
        )
    return download_checkpoint(record.checkpoint)


def evaluate_on_test(
    results: Path,
    study: OpenStudy,
    found: Ranking,
    winner: RankedTrial,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    again: bool,
) -> FinalLook:
    """Score the chosen checkpoint on the test images and remember it; a checkpoint is scored once.

    Raises:
        StudyStorageError: the study still runs, has no test images, or they were looked at for another checkpoint.
        ExportError: the checkpoint cannot be read, or its weights were not kept; that was no look.
    """
    from study.storage.lock import driver_lock
    from study.storage.study_storage import StudyStorage
    from study.training.evaluate import metrics_on

    if (known := find_test_evaluation(study, winner)) is not None:
        with suppress(StudyStorageError), driver_lock(study.layout):  # a kill may have come between storage and outbox
            _tell_mlflow(results, study, known)
        return known
    require_first_test_evaluation(study, winner, again=again)
    if len(labels) == 0:
        raise StudyStorageError(f"`{study.name}` keeps no test images; its data.fractions or folder has none")
    record = winner.record
    assert record.epoch is not None
    folder = weights_folder(record)
    with driver_lock(study.layout):
        storage = StudyStorage.open(study.layout)
        study = replace(study, storage=storage)  # somebody may have looked while the images were read
        if (known := find_test_evaluation(study, winner)) is not None:
            return known
        require_first_test_evaluation(study, winner, again=again)
        try:
            values = metrics_on(folder, images, labels)
        except (OSError, ValueError, RuntimeError) as error:
            raise ExportError(f"cannot score the checkpoint in {record.checkpoint}: {error}") from error
        new = FinalLook(record.trial, record.epoch, found.metric, time.time(), values)
        storage.record_test_evaluation(new)
        _tell_mlflow(results, study, new)
    return new


def _tell_mlflow(results: Path, study: OpenStudy, new: FinalLook) -> None:
    """Put the scores into the outbox, once, and send them if the server answers soon; else ``study sync`` does."""
    from study.errors import TrackingError
    from study.events import FinalLookTaken
    from study.paths import Layout
    from tracking.exporter.recorder import open_recorder
    from tracking.outbox.outbox import Outbox, read_lines
    from tracking.outbox.study_state import fold
    from tracking.run_ids import tracking_uri_of

    told = fold(read_lines(study.layout.outbox, reports=False))
    if told.study is None or (new.trial, new.epoch) in told.looked:
        return
    try:
        uri = tracking_uri_of(study.layout, None)
    except TrackingError as no_password:
        outbox = Outbox(study.layout.outbox)
        outbox.append(FinalLookTaken(study.name, new))
        outbox.close()
        typer.echo(f"the test scores wait for `study sync`: {no_password}", err=True)
        return
    recorder = open_recorder(Layout(results), study.layout, uri)
    recorder.record(FinalLookTaken(study.name, new))
    recorder.close(SEND_TIMEOUT_S)


def final_scores(
    results: Path,
    study: OpenStudy,
    found: Ranking,
    winner: RankedTrial,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    again: bool,
) -> FinalScores:
    """Return what a bundle says of the test images; where they must not be looked at, it says why."""
    from study.export import FinalScores

    if len(labels) == 0:
        return FinalScores("the study keeps none")
    try:
        own = evaluate_on_test(results, study, found, winner, images, labels, again=again)
    except StudyStorageError as refused:
        return FinalScores(f"not scored: {refused}")
    return FinalScores(describe_test_evaluations(refreshed_study(study).storage.looks, own), own.metrics)


def describe_test_evaluations(looks: tuple[FinalLook, ...], own: FinalLook) -> str:
    """Say how often the test images were looked at, this look included."""
    place = [(one.trial, one.epoch) for one in looks].index((own.trial, own.epoch))
    first = f"looked at on {moment(own.at_s)}"
    if place == 0:
        return f"{first}, for the first time"
    before = ", ".join(f"trial {one.trial}" for one in looks[:place])
    return f"{first}, after they had been looked at for {before}: a little flattering"


def refreshed_study(study: OpenStudy) -> OpenStudy:
    """Return the study with what its storage says now."""
    from study.storage.study_storage import StudyStorage

    return replace(study, storage=StudyStorage.open(study.layout))


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


def front_json(found: Ranking) -> list[dict[str, object]]:
    """Return the members of the front as JSON objects."""
    if found.configurations:
        return [configuration_json(one, found) for one in found.configurations if one.rank == 1]
    return [trial_json(row, found) for row in found.rows if row.rank == 1]


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
