"""Run a study from its spec, or go on with one: cluster, data, weights, then Tune until all trials ended."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ray import tune

from study.data import load_data
from study.data.bundle import DataBundle
from study.engine.adapters import EventCallback, InterruptStopper, LedgerScheduler, LedgerSearcher
from study.engine.cluster import Slots, cluster, plan_slots
from study.engine.conductor import Conductor, ended
from study.engine.pretrained import Arrays, begin_fetch, fetched, wanted_depths, without_missing
from study.engine.signals import stop_on_signals
from study.engine.trainable import Shared, TrialWorker
from study.errors import StudyError, WeightsError
from study.events import Recorder, StudyEnded, StudyStarted
from study.layout import StudyLayout, write_text_atomic
from study.ledger import Ledger, driver_lock, refuse_existing
from study.records import StudyOutcome
from study.spec import StudySpec
from study.training.data import TrainingData

SCRATCH = ".tune-"


@dataclass(frozen=True)
class Progress:
    """How the run talks while it prepares: ``say`` a line, ``count`` images of the data that is being made."""

    say: Callable[[str], None]
    count: Callable[[str, int, int], None]
    interrupting: Callable[[], None]


def start_study(
    spec: StudySpec,
    study_file: str,
    layout: StudyLayout,
    recorder: Callable[[], Recorder],
    progress: Progress,
    *,
    address: str | None = None,
) -> StudyEnded:
    """Begin a new study and run it to its end.

    Nothing is stored before data and weights are there, so that a fault in them leaves the name free.

    Args:
        spec: what to run.
        study_file: the study file as it was given.
        layout: the study's paths.
        recorder: makes the listener, once the study exists.
        progress: how to talk while preparing.
        address: a running Ray cluster; None starts one on this machine.

    Raises:
        LedgerError: the name is taken or another process runs the study.
        DataError: the images cannot be used.
        WeightsError: ImageNet weights are missing and nothing else is left to run.
        EngineError: the cluster cannot be reached or has no room for a trial.
    """
    refuse_existing(layout, spec.name)
    with driver_lock(layout), cluster(address):
        data, weights, spec, notices = _prepare(spec, progress)
        write_text_atomic(layout.study_file, study_file)
        ledger = Ledger.create(layout, spec, study_file, data=data.summary, notices=notices)
        return _drive(ledger, layout, data, weights, recorder(), progress, resumed=False)


def resume_study(
    layout: StudyLayout, recorder: Callable[[], Recorder], progress: Progress, *, address: str | None = None
) -> StudyEnded:
    """Go on with a study that was interrupted; its interrupted trials go first, from their last checkpoints.

    Raises:
        LedgerError: there is no such study, its data changed, or another process runs it.
        DataError, WeightsError, EngineError: as in ``start_study``.
    """
    with driver_lock(layout):
        ledger = Ledger.open(layout)
        if ledger.is_finished:
            return ended(ledger, StudyOutcome.FINISHED)
        return _resume(ledger, layout, recorder, progress, address)


def _resume(
    ledger: Ledger, layout: StudyLayout, recorder: Callable[[], Recorder], progress: Progress, address: str | None
) -> StudyEnded:
    with cluster(address):
        data, weights, left, notices = _prepare(ledger.spec, progress)
        ledger.require_data(data.summary.fingerprint)
        if left != ledger.spec:
            raise WeightsError(f"a study's space must stay the same, but since it began {'; '.join(notices)}")
        return _drive(ledger, layout, data, weights, recorder(), progress, resumed=True)


def _prepare(spec: StudySpec, progress: Progress) -> tuple[DataBundle, dict[int, Arrays], StudySpec, tuple[str, ...]]:
    """Read the data while a worker fetches the weights."""
    plan_slots(spec.resources, spec.search.trials)
    fetching = begin_fetch(wanted_depths(spec))
    data = load_data(spec.data, on_progress=progress.count)
    found = fetched(fetching)
    left, notices = without_missing(spec, found.missing)
    for notice in notices:
        progress.say(notice)
    skipped = tuple(f"skipped {one}" for one in data.summary.skipped)
    for notice in skipped:
        progress.say(notice)
    return data, dict(found.weights), left, (*notices, *skipped)


def _drive(
    ledger: Ledger,
    layout: StudyLayout,
    data: DataBundle,
    weights: dict[int, Arrays],
    recorder: Recorder,
    progress: Progress,
    *,
    resumed: bool,
) -> StudyEnded:
    slots = plan_slots(ledger.spec.resources, ledger.spec.search.trials)
    conductor = Conductor(ledger, layout, recorder)
    try:
        with stop_on_signals(conductor.interrupt):
            conductor.begin(_started(ledger, data, slots, resumed=resumed))
            if conductor.has_work():
                _tune(conductor, layout, ledger.spec, _share(ledger.spec, data, weights, slots), slots, progress)
            conductor.raise_fault()
    except BaseException as fault:
        with suppress(StudyError, OSError):  # they would hide what happened first
            conductor.end(crashed=isinstance(fault, Exception))
        with suppress(StudyError, OSError):
            recorder.close()
        raise
    event = conductor.end()
    recorder.close()
    return event


def _started(ledger: Ledger, data: DataBundle, slots: Slots, *, resumed: bool) -> StudyStarted:
    return StudyStarted(
        study=ledger.name,
        study_id=ledger.study_id,
        spec=ledger.spec,
        study_file=ledger.study_file,
        data=data.summary,
        resumed=resumed,
        finished=sum(record.state.is_finished for record in ledger.records()),
        slots=slots.count,
        device="gpu" if slots.gpus else "cpu",
        notices=ledger.notices,
        at_s=time.time(),
    )


def _share(spec: StudySpec, data: DataBundle, weights: dict[int, Arrays], slots: Slots) -> Shared:
    training = TrainingData(
        train_images=data.train.images,
        train_labels=data.train.labels,
        val_images=data.val.images,
        val_labels=data.val.labels,
        classes=data.classes,
        fingerprint=data.summary.fingerprint,
    )
    return Shared(
        data=training,
        objective=spec.objective,
        threads=slots.cpus,
        gpus=slots.gpus,
        weights=weights,
    )


def _tune(
    conductor: Conductor, layout: StudyLayout, spec: StudySpec, shared: Shared, slots: Slots, progress: Progress
) -> None:
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)  # it misses Tune's own files
    for left in layout.root.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    # Tune's own files are disposable: the ledger has all there is.
    scratch = tempfile.mkdtemp(prefix=SCRATCH, dir=layout.root.absolute())
    try:
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(TrialWorker, shared=shared), {"CPU": slots.cpus, "GPU": slots.gpus}
            ),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(conductor, layout),
                scheduler=LedgerScheduler(conductor),
                num_samples=-1,
                max_concurrent_trials=slots.count,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=scratch,
                callbacks=[EventCallback(conductor)],
                stop=InterruptStopper(conductor, progress.interrupting),
                failure_config=tune.FailureConfig(max_failures=spec.resources.worker_retries),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials write their own
                verbose=0,
                log_to_file=False,
            ),
        )
        tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
