"""Tune's callback and stopper: trials that started or lost their worker (and are retried), and interrupts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial

from study.engine.trial_controller import TrialController
from study.engine.trial_result import Failure

POLL_EVERY_S = 0.5


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
            error = trial.get_error()
            kind = type(error).__name__ if error is not None else "unknown"
            failure = Failure(f"worker lost {trial.num_failures} times, last: {kind}", str(error))
            self._controller.on_trial_failed(number, failure)


class InterruptStopper(Stopper):
    """Stops all trials when the run is interrupted; Tune asks between any two events."""

    def __init__(self, controller: TrialController, on_interrupt: Callable[[], None]) -> None:
        self._controller = controller
        self._on_interrupt = on_interrupt
        self._was_shown = False
        self._polled_at_s = 0.0

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
        if self._controller.interrupted and not self._was_shown:
            self._was_shown = True
            self._on_interrupt()
        return self._controller.interrupted
