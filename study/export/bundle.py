"""A bundle's weights as a torch model, which scores images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.bundles.bundle_config import BundleConfig, parse_config
from study.bundles.bundle_files import CONFIG, SUMS, BundleFiles
from study.errors import BundleError, ExportError
from study.files import read_inside
from study.paths import WEIGHTS
from study.training.checkpoint import load_weights, parse_weights
from study.training.evaluate import compute_logits, load_model
from study.training.metrics import probabilities


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle, which scores images; ``config`` is the contents of its configuration."""

    model: nn.Module
    config: Mapping[str, Any]

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """What is done to a picture: image_size_px, mean and std among others."""
        steps: Mapping[str, Any] = self.config["preprocessing"]
        return steps

    def logits(self, images: NDArray[np.uint8], precision: str = "fp32") -> NDArray[np.float64]:
        """Return the logits of the positive class [N] for two classes, else of every class [N, K].

        Args:
            images: [N, S, S, 3] RGB, S as in the configuration.
            precision: fp32, or bf16 to compute as a trial on fast hardware did.

        Raises:
            ExportError: the images have another shape.
        """
        size = self.preprocessing["image_size_px"]
        if images.shape[1:] != (size, size, 3):
            raise ExportError(f"images must be [N, {size}, {size}, 3], but are {list(images.shape)}")
        return compute_logits(self.model, images, self.preprocessing, precision, torch.device("cpu"))

    def scores(self, images: NDArray[np.uint8], precision: str = "fp32") -> NDArray[np.float64]:
        """Return probabilities, calibrated if the bundle has a temperature: [N] for two classes, else [N, K].

        Arguments and errors are those of ``logits``.
        """
        return probabilities(self.logits(images, precision) / self.config.get("temperature", 1.0))


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle of this version, whose sums are checked first, or of the one that had none.

    Raises:
        ExportError: it is no bundle, a file was changed, or its weights do not fit its architecture.
    """
    try:
        if (folder / SUMS).exists():
            files = BundleFiles.open(folder)
            config = parse_config(files.read(CONFIG), str(folder / CONFIG))
            weights = parse_weights(files.read(WEIGHTS), str(folder / WEIGHTS))
        else:
            config = parse_config(read_inside(folder / CONFIG, folder), str(folder / CONFIG))
            _require_old(folder, config)
            weights = load_weights(folder)
        outputs = 1 if len(config.classes) == 2 else len(config.classes)
        model = load_model(config.contents["architecture"], outputs, weights)
    except BundleError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BundleError(f"{folder} must hold a whole bundle, but cannot be loaded: {error}") from error
    return Bundle(model.to(memory_format=torch.channels_last), config.contents)


def _require_old(folder: Path, config: BundleConfig) -> None:
    if config.contents["format"] > 1:
        raise BundleError(f"a bundle must hold {SUMS}, but {folder / SUMS} is missing; export it again")
