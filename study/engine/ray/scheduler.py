"""Tune's trial scheduler: passes each result to the controller and stops a trial when the pruner or the budget says."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.engine.trial_controller import TrialController


class PrunerScheduler(FIFOScheduler):
    """Starts trials in the order of their numbers; the controller decides which to stop."""

    def __init__(self, controller: TrialController) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._controller = controller

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial that waits longest; Tune's own method looks through all past trials at every step."""
        # get_live_trials is a developer API of Tune: FIFOScheduler has no public way to see only unfinished trials.
        waiting = (trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING)
        return min(waiting, key=lambda trial: trial.config["number"], default=None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Pass a worker's result to the controller; stop the trial also if that raised an error."""
        stop = True
        with self._controller.capture_errors():
            stop = self._controller.on_trial_result(trial.config["number"], result["trial_result"])
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)
