"""Write and read the selected checkpoint of a trial: weights, validation scores and a card that describes them."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as deserialize

from study.checkpoint_card import CheckpointCard, read_card
from study.files import open_inside, read_inside, sync_folder, write_atomic, write_text_atomic
from study.paths import CARD, LAST_CHECKPOINT, SCORES, WEIGHTS
from study.training.frozen.weights import FrozenWeights, WeightsWriter


@dataclass(frozen=True)
class SelectedCheckpoint:
    """A selected checkpoint before it is written.

    ``scores`` are the validation scores in [0, 1] of these weights: [M] of the positive class, or [M, K]; ``labels``
    are [M]. ``frozen`` are those weights that are the same in every checkpoint of the trial.
    """

    weights: Mapping[str, torch.Tensor]
    card: CheckpointCard
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    frozen: FrozenWeights | None = None

    def completed(self, frozen: FrozenWeights) -> SelectedCheckpoint:
        """Return a checkpoint that lacks the frozen weights with them."""
        return replace(self, weights={**frozen.state(), **self.weights}, frozen=frozen)

    @property
    def arrays(self) -> dict[str, Any]:
        """What is stored of the validation images, by name."""
        return stored_arrays(self.scores, self.labels, self.ids, self.groups)


def stored_arrays(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    ids: NDArray[np.int64] | None,
    groups: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Return what is stored of the predictions of an image set, by name."""
    every = {"scores": scores, "labels": labels, "ids": ids, "groups": groups}
    return {name: array for name, array in every.items() if array is not None}


def best_folder(directory: Path, epoch: int) -> Path:
    """Return the folder of an epoch's selected checkpoint."""
    return directory / f"epoch-{epoch:04d}"


def save_best(directory: Path, selected: SelectedCheckpoint, writer: WeightsWriter | None = None) -> Path:
    """Write a selected checkpoint in place of the one before, atomically as one folder, and return it.

    Only its weights may be deleted later.

    Args:
        directory: the trial's folder.
        selected: the checkpoint.
        writer: the trial's; by default all weights are written.
    """
    writer = writer or WeightsWriter()
    folder = best_folder(directory, selected.card.epoch)
    staging = directory / f".{folder.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    writer.take(staging / WEIGHTS)
    delete_obsolete(directory, staging)
    frozen = selected.frozen.names if selected.frozen else frozenset[str]()
    digest = writer.write(staging / WEIGHTS, selected.weights, frozen, folder / WEIGHTS)
    card = replace(selected.card, weights_sha256=digest)
    write_atomic(staging / SCORES, lambda file: np.savez(file, **selected.arrays))
    write_text_atomic(staging / CARD, card.as_json())
    os.replace(staging, folder)
    sync_folder(directory)
    return folder


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a folder, such as that of a selected checkpoint, onto the CPU.

    Raises:
        OSError: they are missing or not readable.
        ValueError: they are damaged.
    """
    weights = read_inside(folder / WEIGHTS, folder)
    expected = read_card(folder).weights_sha256 if (folder / CARD).exists() else ""
    if expected and hashlib.sha256(weights).hexdigest() != expected:
        raise ValueError(f"{folder / WEIGHTS} is damaged: its bytes are not those that were written")
    return parse_weights(weights, str(folder / WEIGHTS))


def parse_weights(contents: bytes, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file, which can hold nothing but tensors.

    Raises:
        ValueError: it is damaged, or another kind of file.
    """
    try:
        return deserialize(contents)
    except SafetensorError as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def load_scores(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read validation scores, [M] or [M, K], and labels [M] of a selected checkpoint.

    Raises:
        OSError: they are missing or not readable.
        ValueError: they are damaged.
    """
    try:
        with open_inside(folder / SCORES, folder) as file, np.load(file) as stored:
            return stored["scores"], stored["labels"]
    except (BadZipFile, EOFError, KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"{folder / SCORES} is damaged: {error}") from error


def is_complete(folder: Path) -> bool:
    """Whether a selected checkpoint exists with its weights and scores, undamaged."""
    try:
        load_weights(folder)
        load_scores(folder)
        read_card(folder)
    except (OSError, ValueError):
        return False
    return True


def delete_obsolete(directory: Path, kept: Path | None) -> None:
    """Delete all selected checkpoints but one, and files a kill left unfinished."""
    for path in (*directory.glob("epoch-*"), *directory.glob(".epoch-*.part")):
        if path != kept:
            shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(f".{LAST_CHECKPOINT}.*.part"):
        path.unlink(missing_ok=True)
