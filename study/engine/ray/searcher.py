"""Tune's searcher: hands out the trials that the controller assigns; which point comes next the storage decides."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from study.engine.files.trial_files import TrialFiles
from study.engine.trial_controller import TrialController


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
