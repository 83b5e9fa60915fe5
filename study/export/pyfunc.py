"""The loader by which MLflow's `python_function` flavor reads a checkpoint's folder; imports no MLflow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.checkpoint_card import CheckpointCard, read_card
from study.errors import ExportError
from study.export.bundle import Bundle
from study.training.checkpoint import load_weights
from study.training.evaluate import load_model


class PyfuncModel:
    """The model that ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, model_input: NDArray[np.uint8], params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Return scores in [0, 1]: of the positive class [N] for two classes, else of every class [N, K].

        Args:
            model_input: uint8 RGB [N, S, S, 3].
            params: Ignored; MLflow passes it.

        Raises:
            ExportError: the images have another shape or type.
        """
        images = np.asarray(model_input)
        if images.dtype != np.uint8:
            raise ExportError(f"images must be uint8, 0 to 255, but are {images.dtype}")
        return self._bundle.scores(images).astype(np.float32)


def load_checkpoint(folder: Path) -> Bundle:
    """Load a selected checkpoint from its trial's folder.

    Raises:
        ExportError: it cannot be read, or its weights do not fit its architecture.
    """
    try:
        card = read_card(folder)
        model = load_model(card.config, outputs_of(card), load_weights(folder))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ExportError(f"{folder} must hold a checkpoint with its weights, but cannot be loaded: {error}") from error
    return Bundle(model.to(memory_format=torch.channels_last), {"preprocessing": card.preprocessing})


def outputs_of(card: CheckpointCard) -> int:
    """Return the number of logits of a checkpoint's model."""
    return 1 if len(card.classes) == 2 else len(card.classes)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load a model; MLflow calls the function of this name in a flavor's loader module."""
    return PyfuncModel(load_checkpoint(Path(path)))
