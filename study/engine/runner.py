"""Start or resume a study: cluster, data, weights, then Tune until all trials ended.

What needs Tune takes a second to import, while Ray starts.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from study.config.study_config import StudySpec
from study.data.cache import release_pages
from study.designs import design_overview
from study.designs.changes import changes
from study.engine.driver_process import stop_on_signals
from study.engine.environment import describe_environment
from study.engine.files.checkpoint_retention import CheckpointRetention
from study.engine.files.trial_files import TrialFiles, create_trial_files, open_trial_files
from study.engine.ray.cluster import cluster, leave_cluster
from study.engine.run_context import RunContext
from study.engine.stopping import clear_stop_request
from study.engine.stored_events import summarize_study
from study.engine.trial_controller import TrialController
from study.engine.weights.initial_weights import store_weights
from study.errors import StudyError, UsageError, WeightsError
from study.events import StudyEnded, StudyStarted
from study.files import remove_partial_files, write_text_atomic
from study.paths import StudyLayout
from study.records import StudyOutcome
from study.storage.data_changes import note_pictures, require_same_data
from study.storage.lock import driver_lock
from study.storage.study_attributes import refuse_existing
from study.storage.study_storage import StudyStorage

if TYPE_CHECKING:
    from study.engine.preparation import PreparedStudy
    from study.engine.ray.trainable import SharedObjects
    from study.search.prior_trials import PriorTrial

_NEED_TUNE = ("study.engine.preparation", "study.engine.ray.tuner", "study.engine.ray.trainable")


def start_study(spec: StudySpec, study_file: str, layout: StudyLayout, context: RunContext) -> StudyEnded:
    """Start a new study and run it to its end.

    Nothing is stored before data and weights are prepared, so that an error in them leaves the name free.

    Args:
        spec: what to run.
        study_file: text of the study file as given.
        layout: the study's paths.
        context: recorder, callbacks, cluster, place of the checkpoints.

    Raises:
        StudyStorageError: the name is taken, another process runs the study, or a study to learn from is not there.
        DataError: the images cannot be used.
        WeightsError: weights are missing, do not fit, or nothing else is left to run.
        DesignError: the design has no place for what is left without missing weights.
        EngineError: the cluster cannot be reached or has no room for a trial, or the storage cannot be written.
    """
    refuse_existing(layout, spec.name)
    earlier, notices = _prior_trials(spec, layout)
    with driver_lock(layout):
        clear_stop_request(layout)
        trial_files = create_trial_files(layout, spec.name, context.storage)
        with cluster(context.address, _NEED_TUNE):
            from study.engine.preparation import prepare_study

            shutil.rmtree(layout.pretrained, ignore_errors=True)  # of an earlier study of this name that never began
            prepared = prepare_study(spec, layout, context)
            write_text_atomic(layout.study_file, study_file)
            store_weights(layout, prepared.weights)
            note_pictures(layout, prepared.data)
            storage = StudyStorage.create(
                layout,
                prepared.spec,
                study_file,
                given=spec,
                data=prepared.data.summary,
                notices=(*notices, *prepared.notices),
                warm_start=earlier,
                environment=describe_environment(),
            )
            return _run(storage, layout, trial_files, prepared, context, resumed=False)


def resume_study(layout: StudyLayout, context: RunContext, *, extended: StudySpec | None = None) -> StudyEnded:
    """Resume an interrupted study; its interrupted trials go first, from their last checkpoints.

    Args:
        layout: the study's paths.
        context: recorder, callbacks, cluster, place of the checkpoints.
        extended: the spec from now on, None if unchanged; it must only add to the present one.

    Raises:
        StudyStorageError: there is no such study, its data changed, or another process runs it.
        UsageError: ``extended`` changes more than it adds.
        DataError, WeightsError, EngineError: as in ``start_study``.
    """
    with driver_lock(layout):
        clear_stop_request(layout)
        storage = StudyStorage.open(layout)
        trial_files = open_trial_files(layout, context.storage)
        wanted = _extended(storage, extended)
        if wanted == storage.spec and storage.is_finished:
            return _finish_pages(storage, layout, trial_files, context)
        trial_files.require_writable()
        with cluster(context.address, _NEED_TUNE):
            from study.engine.preparation import prepare_study

            prepared = prepare_study(wanted, layout, context, resumed=True)
            require_same_data(storage, layout, prepared.data)
            if prepared.spec != wanted:
                raise WeightsError(
                    f"a study's space must stay the same, but since it began {'; '.join(prepared.notices)}"
                )
            if wanted != storage.spec:
                storage.extend(wanted)
            return _run(storage, layout, trial_files, prepared, context, resumed=True)


def _finish_pages(
    storage: StudyStorage, layout: StudyLayout, trial_files: TrialFiles, context: RunContext
) -> StudyEnded:
    """Draw what a driver left that was killed after the last trial's end; nothing of a finished study may fail."""
    ended = summarize_study(storage, StudyOutcome.FINISHED, storage.end_reason)
    remove_partial_files(layout.root)
    if any(layout.needs_pictures(trial.trial, trial.checkpoint) for trial in storage.records()):
        with suppress(StudyError), cluster(context.address, _NEED_TUNE):
            from study.engine.preparation import prepare_study

            prepared = prepare_study(storage.spec, layout, context, resumed=True)
            storage.require_data(prepared.data.summary.fingerprint)
            return _run(storage, layout, trial_files, prepared, context, resumed=True)
    return ended


def _prior_trials(spec: StudySpec, layout: StudyLayout) -> tuple[tuple[PriorTrial, ...], tuple[str, ...]]:
    """Return the points of earlier studies, and notices about them; loads Tune only for a study that has some."""
    if not spec.warm_start:
        return (), ()
    from study.engine.preparation import prior_trials_of

    return prior_trials_of(spec, layout)


def _extended(storage: StudyStorage, extended: StudySpec | None) -> StudySpec:
    """Return the spec from now on; it is stored only after the preparation succeeded."""
    if extended is None:
        return storage.spec
    if other := [str(change) for change in changes(storage.spec, extended) if not change.extends]:
        raise UsageError(
            f"an extension must only add to `{storage.name}`, but it changes {'; '.join(other)}; "
            "give the changed study another name with --name"
        )
    return extended


def _run(
    storage: StudyStorage,
    layout: StudyLayout,
    trial_files: TrialFiles,
    prepared: PreparedStudy,
    context: RunContext,
    *,
    resumed: bool,
) -> StudyEnded:
    from ray import tune

    from study.engine.ray.trainable import TrialTrainable
    from study.engine.ray.tuner import remove_scratch, run_trials

    recorder = context.recorder(prepared.data)
    controller = TrialController(
        storage,
        layout,
        recorder,
        evaluates=bool(prepared.data.shifted),
        gpus_of=prepared.packing.gpus_for,
        retention=CheckpointRetention(storage, trial_files, layout, storage.spec.keep.per_study),
    )
    remove_scratch(layout)  # also if no trial is left to run
    remove_partial_files(layout.root)
    try:
        storage.begin_session(time.time())
        with stop_on_signals(controller.interrupt):
            controller.start_session(_study_started(storage, prepared, resumed=resumed))
            if controller.has_work():
                trainable = tune.with_parameters(TrialTrainable, shared=_shared_objects(storage.spec, prepared))
                release_pages(prepared.data)  # the object store has the images now
                run_trials(
                    controller,
                    layout,
                    trainable,
                    prepared.packing.slots,
                    trial_files=trial_files,
                    resources_for=prepared.packing.resources_for,
                    worker_retries=storage.spec.resources.worker_retries,
                    on_interrupt=context.callbacks.on_interrupt,
                )
            controller.raise_captured()
    except BaseException as error:
        with suppress(StudyError, OSError):  # they would hide the first error
            controller.end_session(crashed=isinstance(error, Exception))
        with suppress(StudyError, OSError):
            recorder.close()
        raise
    event = controller.end_session()
    try:
        leave_cluster()  # which waits for processes to end, while the last pages are drawn
    finally:
        recorder.close()
    return event


def _study_started(storage: StudyStorage, prepared: PreparedStudy, *, resumed: bool) -> StudyStarted:
    slots = prepared.packing.slots
    return StudyStarted(
        study=storage.name,
        study_id=storage.study_id,
        spec=storage.spec,
        study_file=storage.study_file,
        data=prepared.data.summary,
        resumed=resumed,
        planned=storage.planned,
        finished=sum(count for state, count in storage.counts().items() if state.is_finished),
        slots=slots.count,
        device="gpu" if slots.gpus else "cpu",
        notices=storage.notices,
        at_s=time.time(),
        design=design_overview(storage.spec),
    )


def _shared_objects(spec: StudySpec, prepared: PreparedStudy) -> SharedObjects:
    from study.engine.ray.trainable import SharedObjects, training_data

    slots = prepared.packing.slots
    return SharedObjects(
        data=training_data(prepared.data, spec.data.resize, spec.data.group_by),
        objective=spec.objective,
        threads=slots.cpus,
        gpus=slots.gpus,
        weights=prepared.weights,
    )
