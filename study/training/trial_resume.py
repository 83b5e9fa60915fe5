"""Save the state of a trial after every epoch, and resume from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch

from study.checkpoint_card import parse_card
from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.files import write_atomic
from study.paths import LAST_CHECKPOINT
from study.records import EpochMetrics
from study.training.checkpoint import (
    SelectedCheckpoint,
    best_folder,
    delete_obsolete,
    is_complete,
    save_best,
)
from study.training.frozen.weights import WeightsWriter
from study.training.learner import Learner
from study.training.progress import TrainingProgress

FORMAT, READ_FORMATS = 5, (4, 5)
"""Format 4 holds the frozen weights too."""
DIGEST_BYTES = hashlib.sha256().digest_size
_BLOCK_BYTES = 1 << 20
_DAMAGE = (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, UnpicklingError)

Identity = dict[str, Any]
"""What must be the same for a trial to be resumed."""


@dataclass(frozen=True)
class ResumePoint:
    """The last finished epoch as read from disk; without weights after a trial's final epoch.

    Frozen weights are missing: they are those of the initial learner.
    """

    progress: TrainingProgress = field(default_factory=TrainingProgress)
    model: Mapping[str, torch.Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    average: Mapping[str, Any] = field(default_factory=dict)

    def restore(self, learner: Learner) -> None:
        """Load the state into a learner, in place; does nothing before the first epoch."""
        if self.model:
            model = learner.network.model
            model.load_state_dict({**model.state_dict(), **self.model})
            learner.optimizer.load_state_dict(dict(self.optimizer))
            if learner.average is not None:
                learner.average.load_state_dict(self.average)


def training_identity(config: TrialConfig, objective: Objective, data_fingerprint: str) -> Identity:
    """Return the identity of a trial."""
    return {"config": config.model_dump(), "objective": objective.model_dump(), "data": data_fingerprint}


class TrialCheckpoints:
    """Writes and reads the files of one trial from which it is resumed, and its selected checkpoint."""

    def __init__(self, directory: Path, identity: Identity) -> None:
        """Use the files of a trial; ``identity`` is what they must have been written for."""
        self.directory = directory
        self._identity = identity
        self._writer = WeightsWriter()

    def save_epoch(
        self, progress: TrainingProgress, learner: Learner | None = None, selected: SelectedCheckpoint | None = None
    ) -> None:
        """Write the file to resume from, then the selected checkpoint if it is this epoch's.

        The file contains the selected checkpoint of its own epoch, without frozen weights: once it is written the
        epoch counts, and the checkpoint's folder can be made from it. So there are never more than two checkpoints. A
        trial of one epoch has nothing to lose: its checkpoint is written first, and only once.

        Args:
            progress: with this epoch.
            learner: None after the final epoch, when nothing is resumed.
            selected: the checkpoint, if this epoch is the best so far.
        """
        if selected is not None and learner is None and len(progress.history) == 1:
            save_best(self.directory, selected, self._writer)
            selected = None
        average = learner.average if learner else None
        frozen = learner.frozen if learner else selected.frozen if selected else None
        state = {
            "format": FORMAT,
            "identity": self._identity,
            "model": learner.frozen.without(learner.network.model.state_dict()) if learner else {},
            "frozen": frozen.digest if frozen else "",
            "optimizer": learner.optimizer.state_dict() if learner else {},
            "average": average.state_dict() if average else {},
            "history": [(metrics.epoch, dict(metrics.values)) for metrics in progress.history],
            "best": (progress.best_epoch, progress.best_value),
            "selected": _pack(selected) if selected else None,
        }
        write_atomic(self.directory / LAST_CHECKPOINT, lambda file: _save_with_digest(state, file))
        assert progress.best_epoch is not None
        if selected is not None:
            save_best(self.directory, selected, self._writer)
        else:
            delete_obsolete(self.directory, best_folder(self.directory, progress.best_epoch))

    def read_last(self, initial_learner: Callable[[], Learner]) -> ResumePoint:
        """Read the last finished epoch; finish or remove what a kill left unfinished.

        Args:
            initial_learner: makes the trial's learner as it begins, which has the frozen weights.

        Returns:
            An empty one, so that the trial starts again, where none was written, or it is another trial's or damaged.
        """
        last = self._read(initial_learner)
        best = last.progress.best_epoch
        delete_obsolete(self.directory, None if best is None else best_folder(self.directory, best))
        return last

    def _read(self, initial_learner: Callable[[], Learner]) -> ResumePoint:
        path = self.directory / LAST_CHECKPOINT
        try:
            state = torch.load(path, map_location="cpu", weights_only=True) if _has_digest(path) else None
            if not isinstance(state, dict) or state.get("format") not in READ_FORMATS:
                return ResumePoint()
            if state["identity"] != self._identity:
                return ResumePoint()
            best_epoch, best_value = state["best"]
            selected = _unpack(state["selected"]) if state["selected"] else None
            frozen = state.get("frozen", "")
        except _DAMAGE:
            return ResumePoint()
        complete = is_complete(best_folder(self.directory, best_epoch))
        if frozen and (state["model"] or not complete) and initial_learner().frozen.digest != frozen:
            return ResumePoint()
        if not complete:
            if selected is None:
                return ResumePoint()
            save_best(
                self.directory, selected.completed(initial_learner().frozen) if frozen else selected, self._writer
            )
        history = tuple(EpochMetrics(epoch, values) for epoch, values in state["history"])
        return ResumePoint(
            TrainingProgress(history, best_epoch, best_value), state["model"], state["optimizer"], state["average"]
        )


def _pack(selected: SelectedCheckpoint) -> dict[str, Any]:
    """Return a selected checkpoint as torch can store it; weights the learner has too are stored once or not at all."""
    return {
        "weights": selected.frozen.without(selected.weights) if selected.frozen else dict(selected.weights),
        "card": selected.card.as_json(),
        **{name: torch.tensor(array) for name, array in selected.arrays.items()},
    }


def _unpack(stored: Mapping[str, Any]) -> SelectedCheckpoint:
    card = parse_card(stored["card"], "the stored card")
    arrays = {name: stored[name].numpy() for name in ("scores", "labels", "ids", "groups") if name in stored}
    return SelectedCheckpoint(stored["weights"], card, **arrays)


class _HashingWriter:
    """Hashes what is written to a file."""

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
    writer = _HashingWriter(file)
    torch.save(state, writer)  # type: ignore[arg-type]  # torch needs only write and flush
    file.write(writer.sha256.digest())  # readers of the archive ignore it


def _has_digest(path: Path) -> bool:
    """Whether a file ends in the digest of what precedes it."""
    sha256, left = hashlib.sha256(), path.stat().st_size - DIGEST_BYTES
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            sha256.update(block)
            left -= len(block)
        return left == 0 and file.read() == sha256.digest()
