"""Keep a running mean of a model's weights, which often scores better than the last ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """An exponential moving average of weights and batch-norm statistics (Polyak & Juditsky 1992).

    While young it forgets faster, with decay min(decay, (1 + n) / (10 + n)) at step n, as TensorFlow's does: else the
    first epochs would score the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move a step towards the model's weights."""
        self._steps += 1
        share = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        own, new = self.model.state_dict(), model.state_dict()
        floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floating], [new[name] for name in floating], share)
        for name in own.keys() - set(floating):  # counters of batches
            own[name].copy_(new[name])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {"steps": self._steps, "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._steps = state["steps"]
        self.model.load_state_dict(state["model"])
