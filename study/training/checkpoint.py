"""Write and read a trial's selected checkpoint: weights, scores and what they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize

from study.paths import CARD, LAST_CHECKPOINT, SCORES, WEIGHTS, sync_folder, write_atomic, write_text_atomic

FORMAT = 1


@dataclass(frozen=True)
class CheckpointCard:
    """What a selected checkpoint says of itself, so that it can be used without its study.

    ``preprocessing`` gives image_size_px, resize (in words), resize_mode, mean and std; ``metrics`` are of ``epoch``;
    ``precision`` and ``device`` (cpu or cuda) are what its validation scores were computed in and on;
    ``weights_sha256`` is that of the file of weights, empty in cards that were written before there was one.
    """

    depth: int
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    epoch: int
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    data_fingerprint: str
    precision: str
    device: str = "cpu"
    weights_sha256: str = ""
    format: int = FORMAT

    def as_json(self) -> str:
        """Return the stored form."""
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass(frozen=True)
class SelectedCheckpoint:
    """A selected checkpoint before it is written.

    ``scores`` are the validation scores in [0, 1] of exactly these weights: [M] of the positive class, or [M, K];
    ``labels`` are [M].
    """

    weights: Mapping[str, torch.Tensor]
    card: CheckpointCard
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]


def best_folder(directory: Path, epoch: int) -> Path:
    """Return where the selected checkpoint of an epoch lies."""
    return directory / f"epoch-{epoch:04d}"


def save_best(directory: Path, selected: SelectedCheckpoint) -> Path:
    """Write a selected checkpoint as one folder, whole or not at all, with float32, contiguous weights.

    Returns:
        The folder; but for its weights, which may be deleted, it is never changed after this.
    """
    folder = best_folder(directory, selected.card.epoch)
    staging = directory / f".{folder.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    # Not save_file: the file it makes can be read by its owner alone.
    weights = serialize({name: tensor.detach().cpu().contiguous() for name, tensor in selected.weights.items()})
    card = replace(selected.card, weights_sha256=hashlib.sha256(weights).hexdigest())
    write_atomic(staging / WEIGHTS, lambda file: file.write(weights))
    write_atomic(staging / SCORES, lambda file: np.savez(file, scores=selected.scores, labels=selected.labels))
    write_text_atomic(staging / CARD, card.as_json())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(staging, folder)
    sync_folder(directory)
    return folder


def read_card(folder: Path) -> CheckpointCard:
    """Read what a selected checkpoint says of itself.

    Raises:
        OSError: the folder is not there or not readable.
        ValueError: it is damaged, or was written in another format.
    """
    return parse_card((folder / CARD).read_text(encoding="utf-8"), str(folder / CARD))


def parse_card(text: str, name: str) -> CheckpointCard:
    """Read a card's stored form.

    Raises:
        ValueError: it is damaged, or was written in another format.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        said = found.get("format") if isinstance(found, dict) else None
        raise ValueError(f"checkpoint format must be {FORMAT}, but {name} says {said}")
    try:
        return CheckpointCard(**{**found, "classes": tuple(found["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} is damaged: {error}") from error


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a selected checkpoint, or of any folder that has such a file, onto the CPU.

    Raises:
        OSError: they are not there or not readable.
        ValueError: they are damaged.
    """
    weights = (folder / WEIGHTS).read_bytes()
    expected = read_card(folder).weights_sha256 if (folder / CARD).exists() else ""
    if expected and hashlib.sha256(weights).hexdigest() != expected:
        raise ValueError(f"{folder / WEIGHTS} is damaged: its bytes are not those that were written")
    try:
        return deserialize(weights)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged: {error}") from error


def load_scores(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read validation scores, [M] or [M, K], and labels [M] of a selected checkpoint.

    Raises:
        OSError: they are not there or not readable.
        ValueError: they are damaged.
    """
    try:
        with (folder / SCORES).open("rb") as file, np.load(file) as stored:
            return stored["scores"], stored["labels"]
    except (BadZipFile, EOFError, KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"{folder / SCORES} is damaged: {error}") from error


def is_complete(folder: Path) -> bool:
    """Whether a selected checkpoint is there with its weights and scores, undamaged."""
    try:
        load_weights(folder)
        load_scores(folder)
        read_card(folder)
    except (OSError, ValueError):
        return False
    return True


def delete_obsolete(directory: Path, keep_epoch: int | None) -> None:
    """Delete selected checkpoints of other epochs, and what a kill left half written."""
    for path in (*directory.glob("epoch-*"), *directory.glob(".epoch-*.part")):
        if keep_epoch is None or path != best_folder(directory, keep_epoch):
            shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(f".{LAST_CHECKPOINT}.*.part"):
        path.unlink(missing_ok=True)
