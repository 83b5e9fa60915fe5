"""Write and read what a trial goes on from after its last finished epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.paths import LAST_CHECKPOINT, write_atomic
from study.records import EpochMetrics
from study.training.checkpoint import (
    SelectedCheckpoint,
    best_folder,
    delete_obsolete,
    is_complete,
    parse_card,
    save_best,
)
from study.training.learner import Learner
from study.training.progress import TrainingProgress

FORMAT = 4
DIGEST_BYTES = hashlib.sha256().digest_size
_BLOCK_BYTES = 1 << 20
_DAMAGE = (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, UnpicklingError)

Identity = dict[str, Any]
"""What must be the same for a trial to go on."""


@dataclass(frozen=True)
class ResumePoint:
    """The last finished epoch as it lies on disk; without weights after a trial's final epoch."""

    progress: TrainingProgress = field(default_factory=TrainingProgress)
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


def training_identity(config: TrialConfig, objective: Objective, data_fingerprint: str) -> Identity:
    """Say what a trial's last epoch belongs to."""
    return {"config": config.model_dump(), "objective": objective.model_dump(), "data": data_fingerprint}


def save_epoch(
    directory: Path,
    identity: Identity,
    progress: TrainingProgress,
    learner: Learner | None = None,
    selected: SelectedCheckpoint | None = None,
) -> None:
    """Write all that is needed to go on, then the selected checkpoint if it is this epoch's.

    The file to go on from holds the selected checkpoint of its own epoch: the moment it is there the epoch counts,
    and the folder can be made from it. So at no time are there more than these two.

    Args:
        directory: the trial's folder.
        identity: what the files belong to.
        progress: the epoch included.
        learner: left out after the final epoch, when nothing goes on.
        selected: the checkpoint, if this epoch is the best so far.
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
        "selected": _packed(selected) if selected else None,
    }
    write_atomic(directory / LAST_CHECKPOINT, lambda file: _save_with_digest(state, file))
    assert progress.best_epoch is not None
    delete_obsolete(directory, progress.best_epoch)
    if selected is not None:
        save_best(directory, selected)


def read_last(directory: Path, identity: Identity) -> ResumePoint:
    """Read the last finished epoch; finish or remove what a kill left half done.

    Returns:
        An empty one when there is none to go on from, because none was written, it is another trial's,
        or the disk damaged it; the trial then starts again.
    """
    last = _read(directory, identity)
    delete_obsolete(directory, last.progress.best_epoch)
    return last


def _read(directory: Path, identity: Identity) -> ResumePoint:
    path = directory / LAST_CHECKPOINT
    try:
        state = torch.load(path, map_location="cpu", weights_only=True) if _has_digest(path) else None
        if not isinstance(state, dict) or state.get("format") != FORMAT or state["identity"] != identity:
            return ResumePoint()
        best_epoch, best_value = state["best"]
        selected = _unpacked(state["selected"]) if state["selected"] else None
    except _DAMAGE:
        return ResumePoint()
    if not is_complete(best_folder(directory, best_epoch)):
        if selected is None:
            return ResumePoint()
        delete_obsolete(directory, None)
        save_best(directory, selected)
    history = tuple(EpochMetrics(epoch, values) for epoch, values in state["history"])
    return ResumePoint(
        TrainingProgress(history, best_epoch, best_value), state["model"], state["optimizer"], state["average"]
    )


def _packed(selected: SelectedCheckpoint) -> dict[str, Any]:
    """Return what torch can store; weights that the learner has too are stored once."""
    return {
        "weights": dict(selected.weights),
        "card": selected.card.as_json(),
        "scores": torch.from_numpy(selected.scores),
        "labels": torch.tensor(selected.labels),
    }


def _unpacked(stored: Mapping[str, Any]) -> SelectedCheckpoint:
    card = parse_card(stored["card"], "the stored card")
    return SelectedCheckpoint(stored["weights"], card, stored["scores"].numpy(), stored["labels"].numpy())


class _HashingWriter:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, block: bytes) -> int:
        """Write and hash a block."""
        self.sha256.update(block)
        return self._file.write(block)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def _save_with_digest(state: Mapping[str, Any], file: BinaryIO) -> None:
    digesting = _HashingWriter(file)
    torch.save(state, digesting)  # type: ignore[arg-type]  # torch asks no more of a file that it writes
    file.write(digesting.sha256.digest())  # readers of the archive pass over it


def _has_digest(path: Path) -> bool:
    """Whether a file is what was written."""
    sha256, left = hashlib.sha256(), path.stat().st_size - DIGEST_BYTES
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            sha256.update(block)
            left -= len(block)
        return left == 0 and file.read() == sha256.digest()
