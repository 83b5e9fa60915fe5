"""Load a checkpoint's folder as an MLflow Python function; needs torch, but neither Ray nor Optuna nor MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from study.errors import ExportError
from study.export.bundle import Bundle
from study.training.checkpoint import CheckpointCard, load_weights, read_card
from study.training.evaluate import load_model


class PyfuncModel:
    """What ``mlflow.pyfunc.load_model`` asks for its predictions."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, model_input: NDArray[np.uint8], params: dict[str, Any] | None = None) -> NDArray[np.float32]:
        """Return scores in [0, 1]: of the positive class [N] for two classes, else of every class [N, K].

        Args:
            model_input: [N, S, S, 3] RGB.
            params: there are none; MLflow passes it.

        Raises:
            ExportError: the images have another shape or type.
        """
        images = np.asarray(model_input)
        if images.dtype != np.uint8:
            raise ExportError(f"images must be uint8, 0 to 255, but are {images.dtype}")
        return self._bundle.scores(images).astype(np.float32)


def load_checkpoint(folder: Path) -> Bundle:
    """Load a selected checkpoint to use it, as it stands in its trial's folder.

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
    """Return how many logits a checkpoint's model has."""
    return 1 if len(card.classes) == 2 else len(card.classes)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Be the loader module of an MLflow model."""
    return PyfuncModel(load_checkpoint(Path(path)))
