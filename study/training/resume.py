"""Write and read what a trial goes on from after its last finished epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from study.hyperparameters import TrialConfig
from study.layout import LAST_CHECKPOINT, write_atomic
from study.records import EpochMetrics
from study.spec import Objective
from study.training.checkpoint import best_folder
from study.training.learner import Learner
from study.training.progress import Progress

FORMAT = 3

Identity = dict[str, Any]
"""What must be the same for a trial to go on."""


@dataclass(frozen=True)
class Last:
    """The last finished epoch as it lies on disk; without weights after a trial's final epoch."""

    progress: Progress = field(default_factory=Progress)
    model: Mapping[str, torch.Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    average: Mapping[str, Any] = field(default_factory=dict)

    def restore(self, learner: Learner) -> None:
        """Put a learner, in place, where it was; nothing before the first epoch."""
        if self.model:
            learner.network.model.load_state_dict(self.model)
            learner.optimizer.load_state_dict(dict(self.optimizer))
            if learner.average is not None:
                learner.average.load_state_dict(self.average)


def identify(config: TrialConfig, objective: Objective, data_fingerprint: str) -> Identity:
    """Say what a trial's last epoch belongs to."""
    return {"config": config.model_dump(), "objective": objective.model_dump(), "data": data_fingerprint}


def save_last(
    directory: Path,
    identity: Identity,
    progress: Progress,
    learner: Learner | None = None,
) -> None:
    """Write all that is needed to go on, whole or not at all.

    After the final epoch nothing goes on: then leave the learner out, and the file is small.
    """
    average = learner.average if learner else None
    state = {
        "format": FORMAT,
        "identity": identity,
        "model": learner.network.model.state_dict() if learner else {},
        "optimizer": learner.optimizer.state_dict() if learner else {},
        "average": average.state_dict() if average else {},
        "history": [(one.epoch, dict(one.values)) for one in progress.history],
        "best": (progress.best_epoch, progress.best_value),
    }
    write_atomic(directory / LAST_CHECKPOINT, lambda file: torch.save(state, file))


def read_last(directory: Path, identity: Identity) -> Last:
    """Read the last finished epoch.

    Returns:
        An empty one when there is none to go on from, because none was written, it is another trial's,
        or the disk lost it; the trial then starts again.
    """
    try:
        state = torch.load(directory / LAST_CHECKPOINT, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError):
        return Last()
    if not isinstance(state, dict) or state.get("format") != FORMAT or state["identity"] != identity:
        return Last()
    best_epoch, best_value = state["best"]
    if not best_folder(directory, best_epoch).is_dir():
        return Last()
    history = tuple(EpochMetrics(epoch, values) for epoch, values in state["history"])
    return Last(Progress(history, best_epoch, best_value), state["model"], state["optimizer"], state["average"])
