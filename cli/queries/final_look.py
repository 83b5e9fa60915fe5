"""Score a study's best checkpoint on the test images, once, and record it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import typer

from cli.output import moment, number
from cli.queries.study_handle import StudyInFolder, open_study
from study.errors import ExportError, StudyStorageError
from study.files import open_inside, write_atomic
from study.metric_catalog import VAL_PREFIX, bare_metric
from study.paths import TEST_SCORES, is_uri
from study.records import FinalLook, TrialRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cli.queries.ranking import Ranking
    from study.analysis.ranking import RankedTrial
    from study.data.dataset import ImageSet
    from study.export import FinalScores

_TOLERANCE = 1e-4


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
    images: ImageSet,
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
    if not len(images):
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
            values, scores = evaluate_checkpoint(folder, images.images, images.labels)
        except (OSError, ValueError, RuntimeError) as error:
            raise ExportError(f"cannot score the checkpoint in {record.checkpoint}: {error}") from error
        new = FinalLook(record.trial, record.epoch, ranking.metric, time.time(), values)
        stored.record_test_evaluation(new)
        _save_scores(study, record, scores, images)
        _send_to_mlflow(results, study, new)
    return new


def _save_scores(study: StudyInFolder, record: TrialRecord, scores: NDArray[np.float64], images: ImageSet) -> None:
    """Store the scores of the test images in the trial's folder, in the form of those of the validation images."""
    import numpy as np

    from study.data.splits import image_groups, image_ids
    from study.training.checkpoint import stored_arrays

    groups = image_groups(images.names, study.view.spec.data.group_by)
    arrays = stored_arrays(scores, images.labels, image_ids(images.names), groups)
    with suppress(OSError):  # the look itself is on record, and its interval then follows from the number of images
        folder = study.layout.trial(record.trial)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / TEST_SCORES, lambda file: np.savez(file, **arrays))


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
    images: ImageSet,
    *,
    again: bool,
    storage: str | None = None,
) -> FinalScores:
    """Return what a bundle says of the test images; where they must not be looked at, it says why."""
    from study.export import FinalScores

    if not len(images):
        return FinalScores("the study keeps none")
    try:
        own = evaluate_on_test(results, study, ranking, winner, images, again=again, storage=storage)
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


@dataclass(frozen=True)
class ValueOnTest:
    """A metric of the test images, by its bare name, with the ends of its 95 % interval where that is known."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None


def value_on_test(study: StudyInFolder, own: FinalLook) -> ValueOnTest | None:
    """Return the metric that a checkpoint was chosen by on the test images, None where it is not one of images.

    Its interval is that of the stored scores, or where there are none follows from the number of images.
    """
    bare = bare_metric(own.ranked_by)
    if bare not in own.metrics:
        return None
    value = own.metrics[bare]
    ends = _ends_by_scores(study, own, bare, value) or _ends_by_counts(study, bare, value)
    return ValueOnTest(bare, value, *(ends or (None, None)))


def _ends_by_scores(study: StudyInFolder, own: FinalLook, bare: str, value: float) -> tuple[float, float] | None:
    import numpy as np

    from cli.queries.stored_predictions import NoPredictionsError, measured_metric
    from study.analysis.predictions import Predictions
    from study.metric_catalog import metric_slug

    path = study.layout.trial(own.trial) / TEST_SCORES
    try:
        metric, _ = measured_metric(VAL_PREFIX + bare)
        with open_inside(path, path.parent) as file, np.load(file) as stored:
            scores, labels = stored["scores"].astype(np.float64), stored["labels"].astype(np.int64)
            groups = stored.get("groups")
        only, classes = np.zeros(1, np.int64), tuple(map(metric_slug, study.classes))
        comparison, _ = Predictions(scores[None], labels, only, only, (0,), classes, groups).comparison(metric)
    except (NoPredictionsError, OSError, BadZipFile, EOFError, KeyError, ValueError, AssertionError):
        return None
    if abs(float(comparison.runs.means[0]) * comparison.mode - value) > _TOLERANCE or not comparison.measured.known:
        return None  # of another look
    return comparison.interval(0, value, float(comparison.half_widths()[0]))


def _ends_by_counts(study: StudyInFolder, bare: str, value: float) -> tuple[float, float] | None:
    import numpy as np

    from study.analysis.verdict_by_values import compare_values

    only, counts = np.zeros(1, np.int64), study.class_counts.get("test", ())
    comparison, basis = compare_values(np.array([value]), only, only, VAL_PREFIX + bare, "max", counts)
    return comparison.interval(0, value, float(comparison.half_widths()[0])) if basis == "counts" else None


def describe_value_on_test(looks: Sequence[FinalLook], own: FinalLook, measured: ValueOnTest) -> str:
    """Return in one line what the test images say of a checkpoint, and after how many looks."""
    place = [(look.trial, look.epoch) for look in looks].index((own.trial, own.epoch))
    times = "once" if place == 0 else f"{place + 1} times"
    ends = "" if measured.low is None else f" ({number(measured.low)} to {number(measured.high)})"
    return f"test, looked at {times}: {number(measured.value)}{ends}"
