"""Base class of everything that is updated incrementally as trials change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from study.trials.serialization import is_settled

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class TrialListener:
    """Is called after each change of a trial, once that is on disk.

    Its state must not depend on the order of calls for different trials: after a restart they are replayed one by one.
    """

    def on_ask(self, trial: FrozenTrial) -> None:
        """Handle a new trial."""

    def on_report(self, trial: FrozenTrial, epoch: int) -> None:
        """Handle an epoch that a trial reported, for the first time or with another result than before."""

    def on_settle(self, trial: FrozenTrial) -> None:
        """Handle that no further replicate of a trial's point is begun; may be called again for the same trial."""

    def on_tell(self, trial: FrozenTrial) -> None:
        """Handle the end of a trial."""


def replay_trials(trials: Iterable[FrozenTrial], listener: TrialListener) -> None:
    """Call a listener for all that was stored before."""
    for trial in trials:
        listener.on_ask(trial)
        for epoch in trial.intermediate_values:
            listener.on_report(trial, epoch)
        if is_settled(trial):
            listener.on_settle(trial)
        if trial.state.is_finished():
            listener.on_tell(trial)
