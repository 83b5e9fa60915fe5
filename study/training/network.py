"""A model and how it computes: on which device, in which precision and memory layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from study.training.batches import DeviceImages
from study.training.tiny_conv import use_tiny_conv

EVAL_BATCH_SIZE = 256


@dataclass(frozen=True)
class Network:
    """A model with all that is needed to score images; ``place`` makes one."""

    model: nn.Module
    device: torch.device
    precision: str
    channels_last: bool

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 logits of normalised images [B, 3, S, S]: [B] for a model with one output, else [B, K]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: torch.Tensor = self.model(images)  # [B, 1] or [B, K]
        return (logits.squeeze(1) if logits.shape[1] == 1 else logits).float()


def place(model: nn.Module, device: torch.device, precision: str, channels_last: bool) -> Network:
    """Move a model to where and how it computes, in place; its state dict keeps its names, shapes and values."""
    model.to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if device.type == "cpu" and precision == "bf16":
        use_tiny_conv(model)
    return Network(model, device, precision, channels_last)


@torch.inference_mode()
def predict(network: Network, images: DeviceImages) -> NDArray[np.float64]:
    """Return the logits of all images in their order: [N], or [N, K] for more than two classes."""
    network.model.eval()
    found = []
    for start in range(0, len(images), EVAL_BATCH_SIZE):
        index = torch.arange(start, min(start + EVAL_BATCH_SIZE, len(images)))
        batch, _ = images.take(index, channels_last=network.channels_last)
        found.append(network.logits(images.normalize(batch)))
    return torch.cat(found).cpu().numpy().astype(np.float64)
