"""Write and read a trial's selected checkpoint: weights, scores and what they are."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import nn

from study.layout import LAST_CHECKPOINT, sync_folder, write_atomic, write_text_atomic

FORMAT = 1
WEIGHTS, CARD, SCORES = "model.safetensors", "checkpoint.json", "validation.npz"


@dataclass(frozen=True)
class CheckpointCard:
    """What a selected checkpoint says of itself, so that it can be used without its study.

    ``preprocessing`` gives image_size_px, resize (in words), resize_mode, mean and std; ``metrics`` are of ``epoch``;
    ``precision`` and ``device`` (cpu or cuda) are what its validation scores were computed in and on.
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
    format: int = FORMAT


def best_folder(directory: Path, epoch: int) -> Path:
    """Return where the selected checkpoint of an epoch lies."""
    return directory / f"epoch-{epoch:04d}"


def save_best(
    directory: Path, model: nn.Module, card: CheckpointCard, scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> Path:
    """Write a selected checkpoint as one folder, whole or not at all.

    Args:
        directory: the trial's folder.
        model: its weights are saved as float32, contiguous.
        card: what to remember of it.
        scores: validation scores in [0, 1] of exactly these weights: [M] of the positive class, or [M, K].
        labels: [M].

    Returns:
        The folder; it is never changed after this.
    """
    folder = best_folder(directory, card.epoch)
    staging = directory / f".{folder.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # Not save_file: the file it makes can be read by its owner alone.
    write_atomic(staging / WEIGHTS, lambda file: file.write(serialize(tensors)))
    write_atomic(staging / SCORES, lambda file: np.savez(file, scores=scores, labels=labels))
    write_text_atomic(staging / CARD, json.dumps(asdict(card), indent=2) + "\n")
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
    found = json.loads((folder / CARD).read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        said = found.get("format") if isinstance(found, dict) else None
        raise ValueError(f"checkpoint format must be {FORMAT}, but {folder / CARD} says {said}")
    try:
        return CheckpointCard(**{**found, "classes": tuple(found["classes"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / CARD} is damaged: {error}") from error


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a selected checkpoint onto the CPU.

    Raises:
        OSError: they are not there or not readable.
        ValueError: they are damaged.
    """
    try:
        return load_file(folder / WEIGHTS)
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


def drop_obsolete(directory: Path, keep_epoch: int | None) -> None:
    """Delete selected checkpoints of other epochs, and what a kill left half written."""
    for path in (*directory.glob("epoch-*"), *directory.glob(".epoch-*.part")):
        if keep_epoch is None or path != best_folder(directory, keep_epoch):
            shutil.rmtree(path, ignore_errors=True)
    for path in directory.glob(f".{LAST_CHECKPOINT}.*.part"):
        path.unlink(missing_ok=True)
