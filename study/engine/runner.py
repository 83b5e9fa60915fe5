"""Run a study from its spec, or go on with one: cluster, data, weights, then Tune until all trials ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ray import tune

from study.data import load_data
from study.data.bundle import DataBundle
from study.data.near_duplicates import duplicate_notice
from study.design import planned_trials
from study.engine.admission import require_data_for
from study.engine.cluster import Slots, cluster, plan_slots
from study.engine.conductor import Conductor, ended
from study.engine.model_key import ModelKey
from study.engine.pretrained import (
    RUN,
    Arrays,
    begin_fetch,
    fetched,
    locate,
    wanted_weights,
    without_missing,
)
from study.engine.rotation import pretrain_by_rotation
from study.engine.signals import stop_on_signals
from study.engine.stored_weights import forget, store, stored
from study.engine.surroundings import Surroundings
from study.engine.trainable import Shared, TrialWorker
from study.engine.tuning import run_trials
from study.errors import StudyError, WeightsError
from study.events import StudyEnded, StudyStarted
from study.layout import StudyLayout, write_text_atomic
from study.ledger import Ledger, driver_lock, refuse_existing
from study.records import StudyOutcome
from study.spec import StudySpec
from study.training.data import LabelledImages, TrainingData, pixel_statistics


@dataclass(frozen=True)
class Prepared:
    """All that trials need."""

    data: DataBundle
    weights: Mapping[ModelKey, Arrays]
    spec: StudySpec
    notices: tuple[str, ...]


def start_study(spec: StudySpec, study_file: str, layout: StudyLayout, around: Surroundings) -> StudyEnded:
    """Begin a new study and run it to its end.

    Nothing is stored before data and weights are there, so that a fault in them leaves the name free.

    Args:
        spec: what to run.
        study_file: the study file as it was given.
        layout: the study's paths.
        around: listener, progress, cluster.

    Raises:
        LedgerError: the name is taken or another process runs the study.
        DataError: the images cannot be used.
        WeightsError: weights are missing, do not fit, or nothing else is left to run.
        EngineError: the cluster cannot be reached or has no room for a trial.
    """
    refuse_existing(layout, spec.name)
    with driver_lock(layout), cluster(around.address):
        forget(layout)
        ready = _prepare(spec, layout, around)
        write_text_atomic(layout.study_file, study_file)
        store(layout, ready.weights)
        ledger = Ledger.create(layout, ready.spec, study_file, data=ready.data.summary, notices=ready.notices)
        return _drive(ledger, layout, ready, around, resumed=False)


def resume_study(layout: StudyLayout, around: Surroundings) -> StudyEnded:
    """Go on with a study that was interrupted; its interrupted trials go first, from their last checkpoints.

    Raises:
        LedgerError: there is no such study, its data changed, or another process runs it.
        DataError, WeightsError, EngineError: as in ``start_study``.
    """
    with driver_lock(layout):
        ledger = Ledger.open(layout)
        if ledger.is_finished:
            return ended(ledger, StudyOutcome.FINISHED)
        with cluster(around.address):
            ready = _prepare(ledger.spec, layout, around, resumed=True)
            ledger.require_data(ready.data.summary.fingerprint)
            if ready.spec != ledger.spec:
                raise WeightsError(f"a study's space must stay the same, but since it began {'; '.join(ready.notices)}")
            return _drive(ledger, layout, ready, around, resumed=True)


def _prepare(spec: StudySpec, layout: StudyLayout, around: Surroundings, *, resumed: bool = False) -> Prepared:
    """Read the data while a worker fetches the weights, then train those that nobody has.

    What there is to say of the data a resumed study's ledger has already.
    """
    slots, say = plan_slots(spec.resources, planned_trials(spec)), around.progress.say
    kept = stored(layout, wanted_weights(spec))
    wanted = [key for key in wanted_weights(spec) if key not in kept]
    located = locate(wanted, around.runs() if any(key.init.startswith(RUN) for key in wanted) else {})
    fetching = begin_fetch(wanted, located)
    data = load_data(spec.data, on_progress=around.progress.count)
    require_data_for(spec, data)
    found = fetched(fetching)
    left, notices = without_missing(spec, found.missing)
    notices = (*notices, *_fewer(spec, left), *(() if resumed else _data_notices(data)))
    for notice in notices:
        say(notice)
    learned = pretrain_by_rotation(spec, wanted, data, slots, say)
    return Prepared(data, {**kept, **found.weights, **learned}, left, notices)


def _fewer(spec: StudySpec, left: StudySpec) -> tuple[str, ...]:
    """Say that fewer trials are left of a design."""
    planned, remain = planned_trials(spec), planned_trials(left)
    return () if remain == planned else (f"{planned - remain} trials are left out with that, {remain} remain",)


def _data_notices(data: DataBundle) -> tuple[str, ...]:
    """Say what the record must keep of the data: files left out, and validation images that were trained on."""
    duplicates = duplicate_notice(data)
    return (*(f"skipped {one}" for one in data.summary.skipped), *([duplicates] if duplicates else []))


def _drive(ledger: Ledger, layout: StudyLayout, ready: Prepared, around: Surroundings, *, resumed: bool) -> StudyEnded:
    slots = plan_slots(ledger.spec.resources, ledger.planned)
    recorder = around.recorder(ready.data)
    conductor = Conductor(ledger, layout, recorder, evaluates=bool(ready.data.shifted))
    try:
        with stop_on_signals(conductor.interrupt):
            conductor.begin(_started(ledger, ready.data, slots, resumed=resumed))
            if conductor.has_work():
                shared = _share(ledger.spec, ready, slots)
                run_trials(
                    conductor,
                    layout,
                    tune.with_parameters(TrialWorker, shared=shared),
                    slots,
                    worker_retries=ledger.spec.resources.worker_retries,
                    on_interrupt=around.progress.interrupting,
                )
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
        planned=ledger.planned,
        finished=sum(record.state.is_finished for record in ledger.records()),
        slots=slots.count,
        device="gpu" if slots.gpus else "cpu",
        notices=ledger.notices,
        at_s=time.time(),
    )


def _share(spec: StudySpec, ready: Prepared, slots: Slots) -> Shared:
    data = ready.data
    mean, std = pixel_statistics(data.train.images)
    training = TrainingData(
        train_images=data.train.images,
        train_labels=data.train.labels,
        val_images=data.val.images,
        val_labels=data.val.labels,
        classes=data.classes,
        fingerprint=data.summary.fingerprint,
        shifted={name: LabelledImages(one.images, one.labels) for name, one in data.shifted.items()},
        mean=mean,
        std=std,
        resize=spec.data.resize,
    )
    return Shared(
        data=training,
        objective=spec.objective,
        threads=slots.cpus,
        gpus=slots.gpus,
        weights=ready.weights,
    )
