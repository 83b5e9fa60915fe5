"""Run the trials of a study with Ray Tune."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from ray import tune

from study.engine.files.trial_files import TrialFiles, default_trial_files
from study.engine.ray.actor_reuse import mark_trial, patched_tune
from study.engine.ray.callbacks import ControllerCallback, InterruptStopper
from study.engine.ray.cluster import Slots
from study.engine.ray.scheduler import PrunerScheduler
from study.engine.ray.searcher import StorageSearcher
from study.engine.trial_controller import TrialController
from study.paths import StudyLayout

SCRATCH = ".tune-"


def remove_scratch(layout: StudyLayout) -> None:
    """Delete Tune's own files that a killed driver left."""
    for folder in layout.root.glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)


def run_trials(
    controller: TrialController,
    layout: StudyLayout,
    trainable: Any,
    slots: Slots,
    *,
    trial_files: TrialFiles | None = None,
    resources_for: Callable[[dict[str, Any]], tune.PlacementGroupFactory] | None = None,
    worker_retries: int = 0,
    on_interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Run trials until the controller has no more of them.

    Args:
        controller: hands out trials and receives their results.
        layout: the study's paths.
        trainable: Tune's Trainable; gets the configurations of StorageSearcher and returns a TrialResult as
            ``trial_result`` from every step.
        slots: what one trial gets and how many run at once.
        trial_files: where trials keep their files; default: the study's own folder.
        resources_for: returns what a trial with a configuration gets, if that differs between trials.
        worker_retries: how often a trial is started again after its worker died.
        on_interrupt: called once if the run stops before its trials ended.
    """

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        own = {"CPU": slots.cpus, "GPU": slots.gpus}
        given = resources_for(config) if resources_for else tune.PlacementGroupFactory([own])
        return mark_trial(given, config["number"])

    # Tune looks for a result file of every trial at the end, and there is none.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    # Tune's own files are disposable: the storage has everything.
    scratch = tempfile.mkdtemp(prefix=SCRATCH, dir=layout.root.absolute())
    try:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=StorageSearcher(controller, trial_files or default_trial_files(layout)),
                scheduler=PrunerScheduler(controller),
                num_samples=-1,
                max_concurrent_trials=slots.count,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=scratch,
                callbacks=[ControllerCallback(controller)],
                stop=InterruptStopper(controller, on_interrupt),
                failure_config=tune.FailureConfig(max_failures=worker_retries),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials write their own
                verbose=0,
                log_to_file=False,
            ),
        )
        with patched_tune(slots.count):
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
