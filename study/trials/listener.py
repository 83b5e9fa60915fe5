"""What everything does that is kept up to date trial by trial instead of being counted again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from study.trials.serialization import is_settled

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class TrialListener:
    """Hears of every change of a trial, once it is on disk.

    What it knows afterwards must not depend on the order in which it heard of different trials: after a restart it
    hears of them one by one.
    """

    def on_ask(self, trial: FrozenTrial) -> None:
        """Hear of a new trial."""

    def on_report(self, trial: FrozenTrial, epoch: int) -> None:
        """Hear that a trial reported an epoch, for the first time or with another result than before."""

    def on_settle(self, trial: FrozenTrial) -> None:
        """Hear that no further replicate of a trial's point is begun; it may be heard again."""

    def on_tell(self, trial: FrozenTrial) -> None:
        """Hear that a trial ended."""


def replay_trials(trials: Iterable[FrozenTrial], follower: TrialListener) -> None:
    """Let a follower hear of all that was stored before."""
    for trial in trials:
        follower.on_ask(trial)
        for epoch in trial.intermediate_values:
            follower.on_report(trial, epoch)
        if is_settled(trial):
            follower.on_settle(trial)
        if trial.state.is_finished():
            follower.on_tell(trial)
