"""A bundle as it is used: a model with all that is needed to score pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.errors import ExportError
from study.training.checkpoint import load_weights
from study.training.judge import logits_of, rebuild
from study.training.metrics import probabilities

CONFIG, CARD = "config.json", "README.md"


@dataclass(frozen=True)
class Bundle:
    """A bundle as it is used: scores images."""

    model: nn.Module
    config: Mapping[str, Any]

    def scores(self, images: NDArray[np.uint8], precision: str = "fp32") -> NDArray[np.float64]:
        """Return scores in [0, 1]: of the positive class [N] for two classes, else of every class [N, K].

        Args:
            images: [N, S, S, 3] RGB, S as in the configuration.
            precision: fp32, or bf16 to compute as a trial on fast hardware did.

        Raises:
            ExportError: the images have another shape.
        """
        steps = self.config["preprocessing"]
        size = steps["image_size_px"]
        if images.shape[1:] != (size, size, 3):
            raise ExportError(f"images must be [N, {size}, {size}, 3], but are {list(images.shape)}")
        return probabilities(logits_of(self.model, images, steps, precision, torch.device("cpu")))


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle to use it.

    Raises:
        ExportError: it is not a bundle, or its weights do not fit its architecture.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        architecture = config["architecture"]
        model = rebuild(architecture, architecture["outputs"], load_weights(folder))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ExportError(f"{folder} must hold a whole bundle, but cannot be loaded: {error}") from error
    return Bundle(model.to(memory_format=torch.channels_last), config)
