"""Build the classifiers a trial can train: torchvision's ResNets, and one shallower sibling."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.models import resnet18, resnet34, resnet50, resnet101, resnet152
from torchvision.models.resnet import BasicBlock, ResNet


def resnet10(num_classes: int) -> ResNet:
    """Build the ResNet with one basic block a stage, which torchvision does not name."""
    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)


MODELS: dict[int, Callable[..., ResNet]] = {
    10: resnet10,
    18: resnet18,
    34: resnet34,
    50: resnet50,
    101: resnet101,
    152: resnet152,
}


def build_model(depth: int, outputs: int = 1) -> nn.Module:
    """Build a ResNet V1 with torchvision's own initial weights.

    Args:
        depth: a key of ``MODELS``; 10 has one basic block a stage.
        outputs: number of logits; 1 for two classes.

    Returns:
        A model that maps [B, 3, H, W] to [B, outputs].
    """
    model: nn.Module = MODELS[depth](num_classes=outputs)
    return model
