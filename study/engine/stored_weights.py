"""Keep with a study the weights its trials begin with, where nobody publishes them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from study.engine.model_key import ModelKey
from study.engine.pretrained import Arrays
from study.errors import WeightsError
from study.layout import StudyLayout, write_atomic


def store(layout: StudyLayout, weights: Mapping[ModelKey, Arrays]) -> None:
    """Write weights, each set whole or not at all; published ones are left out."""
    for key, arrays in weights.items():
        if key.init != "imagenet":
            _write(_path(layout, key), arrays)


def stored(layout: StudyLayout, wanted: Sequence[ModelKey]) -> dict[ModelKey, Arrays]:
    """Read what ``store`` wrote of these.

    Raises:
        WeightsError: a file is damaged.
    """
    found: dict[ModelKey, Arrays] = {}
    for key in wanted:
        path = _path(layout, key)
        if path.exists():
            try:
                found[key] = load_file(path)
            except (OSError, SafetensorError) as error:
                raise WeightsError(
                    f"{path} must hold the weights of init {key.init}, but is damaged: {error}"
                ) from error
    return found


def forget(layout: StudyLayout) -> None:
    """Remove what an earlier study of the name left that never began."""
    shutil.rmtree(layout.pretrained, ignore_errors=True)


def _write(path: Path, arrays: Arrays) -> None:
    # safetensors writes memory as it lies and the shape beside it: another order than C would come back scrambled.
    ordered = {name: np.array(one, order="C") for name, one in arrays.items()}
    write_atomic(path, lambda file: file.write(save(ordered)))


def _path(layout: StudyLayout, key: ModelKey) -> Path:
    digest = hashlib.sha256(repr(tuple(key)).encode()).hexdigest()[:16]
    return layout.pretrained / f"{key.init.partition(':')[0]}-{key.family}-{key.depth}-{digest}.safetensors"
