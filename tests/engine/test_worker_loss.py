"""Let workers die at every step Tune takes with them: a trial loses its worker, never its place in the study."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from engine_fakes import Listener, check_whole, learning_curve, make_spec, make_storage, metrics, started
from ray import tune

from study.config.hyperparameters import TrialConfig
from study.engine.ray.cluster import Slots
from study.engine.ray.tuner import run_trials
from study.engine.trial_controller import TrialController
from study.engine.trial_result import TrialResult
from study.records import StopReason, TrialState
from study.storage.lock import driver_lock

MOMENTS = ("setup", "reset", "step", "idle")
"""When workers die, each with two trials: of these the second may begin in a new worker, which is not reset."""


class Mortal(tune.Trainable):
    """A worker that dies at a moment of a trial, once: the file it leaves says that it did."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)
        self._perhaps_die("setup")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        self._perhaps_die("reset")
        return True

    def step(self) -> dict[str, Any]:
        self._epoch += 1
        if self._epoch == 2:
            self._perhaps_die("step")
        config = TrialConfig.model_validate(self._given["trial"])
        ended = StopReason.FINISHED if self._epoch == config.max_epochs else None
        epochs = tuple(metrics(epoch, learning_curve(config, epoch)) for epoch in range(1, self._epoch + 1))
        if ended:
            self._perhaps_die_later("idle")
        return {"trial_result": TrialResult(epochs, str(self._folder / f"epoch-{_best(epochs):04d}"), ended)}

    def _begin(self, config: dict[str, Any]) -> None:
        self._given, self._epoch, self._folder = config, 0, Path(config["directory"])

    def _perhaps_die(self, moment: str) -> None:
        if self._is_due(moment):
            os._exit(1)

    def _perhaps_die_later(self, moment: str) -> None:
        """Die when the trial is over, before the next one comes or while it does."""
        if self._is_due(moment) and os.fork() == 0:
            time.sleep(0.02)
            os.kill(os.getppid(), 9)
            os._exit(0)

    def _is_due(self, moment: str) -> bool:
        grave = self._folder.parents[1] / f"died-{moment}-{self._given['number']}"
        wish = self._folder.parents[1] / f"die-{moment}-{self._given['number']}"
        if not wish.exists() or grave.exists():
            return False
        grave.touch()
        return True


def _best(epochs: tuple[Any, ...]) -> int:
    return int(max(epochs, key=lambda epoch: epoch.values["val_auc"]).epoch)


def test_workers_that_die_cost_no_trial(tmp_path: Path, ray_cluster: None) -> None:
    storage, layout = make_storage(tmp_path / "study", make_spec(trials=10, pruner="none"))
    for first, moment in enumerate(MOMENTS):
        for number in (2 * first, 2 * first + 1):
            (layout.root / f"die-{moment}-{number}").touch()
    listener = Listener()
    with driver_lock(layout):
        controller = TrialController(storage, layout, listener)
        controller.start_session(started(storage))
        run_trials(controller, layout, Mortal, Slots(1, 0.0, 2), worker_retries=2)
        controller.raise_captured()
        controller.end_session()
    deaths = {path.name.split("-")[1] for path in layout.root.glob("died-*")}
    assert deaths == set(MOMENTS), "nobody died at some moment"
    records = check_whole(layout, listener)
    assert [(record.trial, record.state, record.error) for record in records] == [
        (number, TrialState.COMPLETE, None) for number in range(10)
    ]
