"""Speak Tune's interfaces: searcher, scheduler, callback and stopper, each a thin voice of the controller."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.analysis import ExperimentAnalysis
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.engine.files.trial_files import TrialFiles, default_trial_files
from study.engine.trial_result import Failure
from study.engine.ray.actor_reuse import mark_trial, patched_tune
from study.engine.ray.cluster import Slots
from study.engine.trial_controller import TrialController
from study.paths import StudyLayout

POLL_EVERY_S = 0.5


class StorageSearcher(Searcher):
    """Hand out the storage's trials; Tune's own bookkeeping of them is disposable."""

    def __init__(self, controller: TrialController, trial_files: TrialFiles) -> None:
        super().__init__()
        self._controller = controller
        self._trial_files = trial_files

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next trial's configuration, None while one may come yet, or that there will be none.

        Tune never asks again once it was told that there will be none.
        """
        assignment = None
        with self._controller.capture_errors():
            assignment = self._controller.next_assignment()
        if assignment is None and self._controller.may_ask_later():
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
        """Do nothing: the scheduler tells the storage, so that there is one teller."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the storage is the only durable state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the storage is the only durable state."""


class PrunerScheduler(FIFOScheduler):
    """Stop trials when the storage's pruner says so, and end those that cannot go on."""

    def __init__(self, controller: TrialController) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._controller = controller

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial that waits longest; Tune's own looks through all there ever were at every step."""
        waiting = (one for one in tune_controller.get_live_trials() if one.status == Trial.PENDING)
        return min(waiting, key=lambda one: one.config["number"], default=None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Take one report of a worker."""
        stop = True
        with self._controller.capture_errors():
            stop = self._controller.on_trial_result(trial.config["number"], result["trial_result"])
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class ControllerCallback(Callback):
    """Tell the controller what only Tune knows: placements and dead workers."""

    def __init__(self, controller: TrialController) -> None:
        self._controller = controller

    def __getstate__(self) -> dict[str, object]:
        """Give nothing to pickle, as the controller does."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note the placement."""
        with self._controller.capture_errors():
            self._controller.place(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End a trial whose workers died more often than allowed.

        Tune gives up a trial at once that it handed to a warm worker which was dead; that one is handed out again.
        """
        number = trial.config["number"]
        if not self._controller.is_running(number):
            return
        with self._controller.capture_errors():
            if trial.should_recover() and self._controller.requeue(number, trial.max_failures):
                return
            error = trial.get_error()
            kind = type(error).__name__ if error is not None else "unknown"
            self._controller.fail(number, Failure(f"worker lost {trial.num_failures} times, last: {kind}", str(error)))


class InterruptStopper(Stopper):
    """Stop all trials once the user asked for it; Tune asks between any two events."""

    def __init__(self, controller: TrialController, on_interrupt: Callable[[], None]) -> None:
        self._controller = controller
        self._on_interrupt = on_interrupt
        self._said = False
        self._polled_at_s = 0.0

    def __getstate__(self) -> dict[str, object]:
        """Give nothing to pickle, as the controller does."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single trial; the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Whether the user asked to stop at once, or the study cannot go on."""
        now_s = time.monotonic()
        if now_s - self._polled_at_s >= POLL_EVERY_S:
            self._polled_at_s = now_s
            with self._controller.capture_errors():
                self._controller.poll()
        if self._controller.interrupted and not self._said:
            self._said = True
            self._on_interrupt()
        return self._controller.interrupted


@contextmanager
def without_state() -> Iterator[None]:
    """Let Tune neither save its trials nor look for their results in what is run inside.

    It does both at the end of a run, whatever it is told: 2 ms for each trial there was, 16 s for ten thousand.
    """
    controller: Any = TuneController
    analysis: Any = ExperimentAnalysis
    known = controller.save_to_dir, analysis._fetch_trial_dataframes
    controller.save_to_dir, analysis._fetch_trial_dataframes = _save_nothing, _find_nothing
    try:
        yield
    finally:
        controller.save_to_dir, analysis._fetch_trial_dataframes = known


def _save_nothing(controller: Any) -> None:
    """Write a state without trials, since Tune looks for one."""
    folder = Path(controller._storage.experiment_driver_staging_path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / controller.experiment_state_file_name).write_text(json.dumps({"trial_data": []}))


def _find_nothing(analysis: Any) -> dict[str, Any]:
    return {}


SCRATCH = ".tune-"


def remove_scratch(layout: StudyLayout) -> None:
    """Remove what a killed driver left of Tune's own files."""
    for left in layout.root.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


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
    """Run trials until the controller has no more.

    Args:
        controller: hands trials out and takes what they report.
        layout: the study's paths.
        trainable: what Tune makes workers of; it takes a LedgerSearcher's configurations and returns a
            TrialReport as ``report`` from every step.
        slots: what one trial gets and how many run at once.
        trial_files: where trials keep their files; default: the study's own folder.
        resources_for: what a trial with a configuration gets, where that differs from trial to trial.
        worker_retries: how often a trial is placed again after its worker died.
        on_interrupt: called once when a run is to stop before its trials ended.
    """

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        same = [{"CPU": slots.cpus, "GPU": slots.gpus}]
        return mark_trial(
            resources_for(config) if resources_for else tune.PlacementGroupFactory(same), config["number"]
        )

    # Tune's own files are disposable: the storage has all there is.
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
        with patched_tune(slots.count), without_state():
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
