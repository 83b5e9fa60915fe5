"""Score a study's best checkpoint on the test images, once, and record it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.output import moment
from cli.queries.study_handle import StudyInFolder, open_study
from study.errors import ExportError, StudyStorageError
from study.paths import is_uri
from study.records import FinalLook, TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cli.queries.ranking import Ranking
    from study.analysis.ranking import RankedTrial
    from study.export import FinalScores


def look_at(looks: Sequence[FinalLook], winner: RankedTrial) -> FinalLook | None:
    """Return the look at the test images that a checkpoint had."""
    chosen = (winner.record.trial, winner.record.epoch)
    return next((look for look in looks if (look.trial, look.epoch) == chosen), None)


def require_first_test_evaluation(looks: Sequence[FinalLook], winner: RankedTrial, *, again: bool) -> None:
    """Make sure that the test images were not looked at for another checkpoint.

    Raises:
        StudyStorageError: they were, and --look-again was not given.
    """
    chosen = (winner.record.trial, winner.record.epoch)
    others = [look for look in looks if (look.trial, look.epoch) != chosen]
    if others and not again:
        raise StudyStorageError(
            f"the test images are looked at once, but were scored with trial {others[-1].trial} on "
            f"{moment(others[-1].at_s)}; whoever chooses again after that chooses by the test images. "
            "--look-again does it, and the record will say so"
        )


def weights_folder(study: StudyInFolder, record: TrialRecord, storage: str | None = None) -> Path:
    """Return the selected checkpoint of a trial as a folder of this machine that holds its weights.

    Args:
        study: the trial's.
        record: the trial.
        storage: what the user gave for --storage.

    Raises:
        ExportError: the weights were not kept, are gone or damaged, or are those of another trial.
        EngineError: they are in a storage that the user never named, or cannot be copied here.
    """
    from study.checkpoint_card import checkpoint_fault
    from study.engine.files.trial_files import open_trial_files
    from study.utils.remote_files import download_checkpoint

    assert record.checkpoint is not None
    if record.kept is False:
        raise ExportError(
            f"the weights of trial {record.trial} of `{record.study}` were deleted, because it is not among the trials "
            f"that `keep: per_study` says; `{_rerun(study, record)}` makes them again, "
            "`keep: {per_study: all}` in a study file keeps those of every trial"
        )
    place = open_trial_files(study.layout, storage).checkpoint(record.trial, record.checkpoint)
    folder = download_checkpoint(place)
    if fault := checkpoint_fault(folder, record, study.fingerprint):
        raise ExportError(describe_fault(study, record, place, fault))
    return folder


def describe_fault(study: StudyInFolder, record: TrialRecord, place: str, fault: str) -> str:
    """Return in words what is wrong with a trial's checkpoint, and the way out."""
    way_out = f"`{_rerun(study, record)}` makes it again"
    return f"the checkpoint of trial {record.trial} of `{study.name}`, {place}, {fault}; {way_out}"


def _rerun(study: StudyInFolder, record: TrialRecord) -> str:
    return f"{study.layout.command('rerun', record.trial)} --save DIR"


def fault_of_checkpoint(study: StudyInFolder, record: TrialRecord) -> str | None:
    """Return what is wrong with a trial's checkpoint here, None where it is whole, remote or was not kept."""
    from study.checkpoint_card import checkpoint_fault
    from study.engine.files.trial_files import open_trial_files
    from study.errors import EngineError

    if record.checkpoint is None or record.kept is False:
        return None
    try:
        place = open_trial_files(study.layout).checkpoint(record.trial, record.checkpoint)
    except EngineError as error:
        return str(error)
    fault = None if is_uri(place) else checkpoint_fault(Path(place), record, study.fingerprint)
    return fault and describe_fault(study, record, place, fault)


def evaluate_on_test(
    results: Path,
    study: StudyInFolder,
    ranking: Ranking,
    winner: RankedTrial,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    again: bool,
    storage: str | None = None,
) -> FinalLook:
    """Score the chosen checkpoint on the test images and remember it; a checkpoint is scored once.

    Raises:
        StudyStorageError: the study still runs, has no test images, or they were looked at for another checkpoint.
        ExportError: the checkpoint cannot be read, or its weights were not kept; that was no look.
    """
    from study.storage.lock import driver_lock
    from study.storage.study_storage import StudyStorage
    from study.training.evaluate import evaluate_checkpoint

    if (known := look_at(study.looks, winner)) is not None:
        with suppress(StudyStorageError), driver_lock(study.layout):  # a kill may have come between storage and outbox
            _send_to_mlflow(results, study, known)
        return known
    require_first_test_evaluation(study.looks, winner, again=again)
    if len(labels) == 0:
        raise StudyStorageError(f"`{study.name}` keeps no test images; its data.fractions or folder has none")
    record = winner.record
    assert record.epoch is not None
    folder = weights_folder(study, record, storage)
    with driver_lock(study.layout):
        stored = StudyStorage.open(study.layout)  # another command may have scored while the images were read
        if (known := look_at(stored.looks, winner)) is not None:
            return known
        require_first_test_evaluation(stored.looks, winner, again=again)
        try:
            values = evaluate_checkpoint(folder, images, labels)
        except (OSError, ValueError, RuntimeError) as error:
            raise ExportError(f"cannot score the checkpoint in {record.checkpoint}: {error}") from error
        new = FinalLook(record.trial, record.epoch, ranking.metric, time.time(), values)
        stored.record_test_evaluation(new)
        _send_to_mlflow(results, study, new)
    return new


def _send_to_mlflow(results: Path, study: StudyInFolder, new: FinalLook) -> None:
    """Put the scores into the outbox, once, and send them if the server answers soon; else ``study sync`` does."""
    from study.errors import TrackingError
    from study.events import FinalLookTaken
    from study.paths import Layout
    from tracking.exporter.recorder import OutboxRecorder
    from tracking.outbox.outbox import Outbox, read_lines
    from tracking.outbox.study_state import fold
    from tracking.run_ids import tracking_uri_of
    from tracking.tracking_uri import default_tracking_uri

    state = fold(read_lines(study.layout.outbox, reports=False))
    if state.study is None or (new.trial, new.epoch) in state.looked:
        return
    try:
        uri = default_tracking_uri(Layout(results), tracking_uri_of(study.layout, None))
    except TrackingError as no_password:
        outbox = Outbox(study.layout.outbox)
        outbox.append(FinalLookTaken(study.name, new))
        outbox.close()
        typer.echo(f"the test scores wait for `{study.layout.command('sync')}`: {no_password}", err=True)
        return
    recorder = OutboxRecorder(study.layout, uri)
    recorder.record(FinalLookTaken(study.name, new))
    recorder.close()


def final_scores(
    results: Path,
    study: StudyInFolder,
    ranking: Ranking,
    winner: RankedTrial,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    again: bool,
    storage: str | None = None,
) -> FinalScores:
    """Return what a bundle says of the test images; where they must not be looked at, it says why."""
    from study.export import FinalScores

    if len(labels) == 0:
        return FinalScores("the study keeps none")
    try:
        own = evaluate_on_test(results, study, ranking, winner, images, labels, again=again, storage=storage)
    except StudyStorageError as refused:
        return FinalScores(f"not scored: {refused}")
    return FinalScores(describe_test_evaluations(open_study(results, study.name).looks, own), own.metrics)


def describe_test_evaluations(looks: tuple[FinalLook, ...], own: FinalLook) -> str:
    """Return how often the test images were looked at, this look included, in words."""
    place = [(look.trial, look.epoch) for look in looks].index((own.trial, own.epoch))
    first = f"looked at on {moment(own.at_s)}"
    if place == 0:
        return f"{first}, for the first time"
    before = ", ".join(f"trial {look.trial}" for look in looks[:place])
    return f"{first}, after they had been looked at for {before}: a little flattering"
