"""Export a checkpoint as a `torch.export` graph from pixels to scores, which needs torch alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from study.errors import ExportError
from study.export.bundle import Bundle
from study.export.pyfunc import load_checkpoint

# Two graphs of the same float32 operations differ in the order of a sum at most.
TOLERANCE = 1e-4
_EXAMPLES = 2  # torch.export takes a batch of one for a constant


class ScoringModule(nn.Module):
    """A classifier that normalizes its input and returns probabilities."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, preprocessing: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocessing[name], dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return scores in [0, 1] of uint8 images [B, S, S, 3]: of the positive class [B], or of every class [B, K]."""
        pixels = images.permute(0, 3, 1, 2).float() / 255  # [B, S, S, 3] -> [B, 3, S, S]
        logits: torch.Tensor = self.model((pixels - self.mean) / self.std)
        return logits.squeeze(1).sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def export_graph(checkpoint: Path, file: Path) -> str:
    """Write the graph of a checkpoint as a ``.pt2`` archive, loaded again and compared with the checkpoint.

    Returns:
        The version of torch that wrote it.

    Raises:
        ExportError: the checkpoint cannot be loaded, the file cannot be written, or the graph gives other scores.
    """
    bundle = load_checkpoint(checkpoint)
    steps = bundle.config["preprocessing"]
    size = steps["image_size_px"]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_EXAMPLES, size, size, 3), dtype=np.uint8)
    scorer = ScoringModule(bundle.model, steps).eval().requires_grad_(False)
    part = file.with_name(f".part-{file.name}")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own parts about each other
            batch = torch.export.Dim("batch", min=1)
            graph = torch.export.export(scorer, (torch.from_numpy(images),), dynamic_shapes=({0: batch},))
            torch.export.save(graph, part)
        _compare(part, bundle, generator.integers(0, 256, (_EXAMPLES + 1, size, size, 3), dtype=np.uint8))
        os.replace(part, file)
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write the graph of {checkpoint} to {file}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return str(torch.__version__)


def _compare(file: Path, bundle: Bundle, images: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = torch.export.load(file).module()(torch.from_numpy(images)).numpy()
    difference = float(np.abs(again - bundle.scores(images)).max())
    if not difference <= TOLERANCE:  # so that NaN fails too
        raise ExportError(f"a graph must give its checkpoint's scores, but one differs by {difference:.3g}")
