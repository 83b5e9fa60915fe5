"""The graph of a classifier from pixels to probabilities, captured once for every format that is exported."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

_EXAMPLES = 2  # torch.export takes a batch of one for a constant
_LOCAL = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""What torch notes of each node about the code it came from, paths of this machine among it."""


class ScoringModule(nn.Module):
    """A classifier that normalizes its input and returns probabilities."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, preprocessing: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocessing[name], dtype=torch.float32).view(1, 3, 1, 1))

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of uint8 images [B, S, S, 3]: of the positive class [B], or of every class [B, K]."""
        pixels = images.permute(0, 3, 1, 2).float() / 255  # [B, S, S, 3] -> [B, 3, S, S]
        logits: torch.Tensor = self.model((pixels - self.mean) / self.std)
        return logits.squeeze(1) if logits.shape[1] == 1 else logits

    def forward(self, images: torch.Tensor) -> Any:
        """Return scores in [0, 1] of uint8 images [B, S, S, 3]: of the positive class [B], or of every class [B, K]."""
        logits = self.logits(images)
        return logits.sigmoid() if logits.dim() == 1 else logits.softmax(1)


class CalibratedModule(ScoringModule):
    """A classifier that returns its logits and its calibrated probabilities."""

    def __init__(self, model: nn.Module, preprocessing: Mapping[str, Any], temperature: float) -> None:
        super().__init__(model, preprocessing)
        self.temperature = temperature

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and probabilities of uint8 images [B, S, S, 3], each [B] or [B, K]."""
        logits = self.logits(images)
        scaled = logits / self.temperature
        return logits, scaled.sigmoid() if logits.dim() == 1 else scaled.softmax(1)


def capture_graph(scorer: ScoringModule, image_size_px: int) -> torch.export.ExportedProgram:
    """Capture a module for any number of images, without a trace of the code or the machine it came from."""
    images = torch.zeros((_EXAMPLES, image_size_px, image_size_px, 3), dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts about each other
        batch = torch.export.Dim("batch", min=1)
        module = scorer.eval().requires_grad_(False)
        program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    for module_of_graph in program.graph_module.modules():
        if isinstance(module_of_graph, torch.fx.GraphModule):
            for node in module_of_graph.graph.nodes:
                for key in _LOCAL:
                    node.meta.pop(key, None)
    return program


def save_graph(program: torch.export.ExportedProgram, file: Path) -> None:
    """Write a captured graph as a ``.pt2`` archive.

    Raises:
        OSError: the file cannot be written.
    """
    archive = io.BytesIO()  # torch ends the whole process where a disk is full
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts about each other
        torch.export.save(program, archive)
    file.write_bytes(archive.getbuffer())
