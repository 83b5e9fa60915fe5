"""Run the trials of a study with Ray Tune, whose searcher, scheduler, callback and stopper ask the controller."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.engine.files.trial_files import TrialFiles, default_trial_files
from study.engine.ray.actor_reuse import mark_trial, patched_tune
from study.engine.ray.cluster import Slots
from study.engine.trial_controller import TrialController
from study.engine.trial_result import Failure
from study.engine.waiting import NODES_EVERY_S, require_node
from study.paths import StudyLayout

SCRATCH = ".tune-"
POLL_EVERY_S = 0.5


class StorageSearcher(Searcher):
    """Hands out the storage's trials; nothing that Tune itself keeps of them is needed later."""

    def __init__(self, controller: TrialController, trial_files: TrialFiles) -> None:
        super().__init__()
        self._controller = controller
        self._trial_files = trial_files

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's configuration, None while one may come later, FINISHED if none will.

        Tune never asks again after FINISHED.
        """
        assignment = None
        with self._controller.capture_errors():
            assignment = self._controller.next_assignment()
        if assignment is None and self._controller.may_have_more():
            return None
        if assignment is None:
            return Searcher.FINISHED  # type: ignore[return-value]  # Tune's own declaration leaves this value out
        return {
            "number": assignment.trial,
            "trial": assignment.config.model_dump(),
            "directory": self._trial_files.folder(assignment.trial),
            "pruned": assignment.stop.epoch if assignment.stop else None,
            "alone": assignment.alone,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the scheduler and the callback report to the controller."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the storage is the only durable state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the storage is the only durable state."""


class PrunerScheduler(FIFOScheduler):
    """Starts trials in the order of their numbers; the controller decides which to stop."""

    def __init__(self, controller: TrialController) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._controller = controller
        self._unfinished: dict[str, Trial] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Remember the trial, which is new or comes back."""
        self._unfinished[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the waiting trial of the lowest number; Tune's own method looks through all past trials every time."""
        ended = (Trial.TERMINATED, Trial.ERROR)
        self._unfinished = {key: trial for key, trial in self._unfinished.items() if trial.status not in ended}
        waiting = (trial for trial in self._unfinished.values() if trial.status == Trial.PENDING)
        return min(waiting, key=lambda trial: trial.config["number"], default=None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass a worker's result to the controller; stop the trial also if that raised an error."""
        stop = True
        with self._controller.capture_errors():
            stop = self._controller.on_trial_result(trial.config["number"], result["trial_result"])
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class ControllerCallback(Callback):
    """Tells the controller what only Tune knows: trials that started, and workers that died."""

    def __init__(self, controller: TrialController) -> None:
        self._controller = controller

    def __getstate__(self) -> dict[str, object]:
        """Pickle nothing, like the controller."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tell the controller that a worker has the trial."""
        with self._controller.capture_errors():
            self._controller.on_trial_started(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Retry a trial, or fail it if its workers died more often than allowed.

        Tune itself retries a trial whose worker died (``max_failures``), but gives up at once a trial that it handed
        to an idle worker which was dead already; the controller hands that trial out again.
        """
        number = trial.config["number"]
        if not self._controller.is_running(number):
            return
        with self._controller.capture_errors():
            # should_recover and get_error are developer APIs of Tune; a callback gets no other account of the error.
            if trial.should_recover() and self._controller.retry(number, trial.max_failures):
                return
            account = str(trial.get_error() or "Ray left no account of it")
            failure = Failure(f"worker lost {trial.num_failures} times, last: {reason_of_loss(account)}", account)
            self._controller.on_trial_failed(number, failure)


def reason_of_loss(account: str) -> str:
    """Return the sentence of Ray's account of a lost worker that says why, or its first line."""
    lines = [line.strip() for line in account.splitlines() if line.strip() and not line.startswith("Failure #")]
    reasons = (line.partition(" because ")[2] for line in lines if line.startswith("The actor is dead because "))
    reason = next(reasons, lines[0] if lines else "unknown")
    return reason.partition(". ")[0].removesuffix(".")


class InterruptStopper(Stopper):
    """Stops all trials when the run is interrupted or Ray has lost every node; Tune asks between any two events."""

    def __init__(self, controller: TrialController, layout: StudyLayout, on_interrupt: Callable[[], None]) -> None:
        self._controller = controller
        self._layout = layout
        self._on_interrupt = on_interrupt
        self._was_shown = False
        self._polled_at_s = 0.0
        self._saw_nodes_at_s = time.monotonic()

    def __getstate__(self) -> dict[str, object]:
        """Pickle nothing, like the controller."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: the scheduler stops single trials."""
        return False

    def stop_all(self) -> bool:
        """Return whether the user asked to stop at once, or the study cannot go on."""
        now_s = time.monotonic()
        if now_s - self._polled_at_s >= POLL_EVERY_S:
            self._polled_at_s = now_s
            with self._controller.capture_errors():
                self._controller.poll()
        if now_s - self._saw_nodes_at_s >= NODES_EVERY_S:
            self._saw_nodes_at_s = now_s
            with self._controller.capture_errors():
                require_node(f"go on with `{self._layout.command('resume')}`")
        if self._controller.interrupted and not self._was_shown:
            self._was_shown = True
            self._on_interrupt()
        return self._controller.interrupted


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
                stop=InterruptStopper(controller, layout, on_interrupt),
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
