"""Build the classifiers a trial can train: a backbone of one family and depth, and a head named `fc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import resnet18, resnet34, resnet50, resnet101, resnet152, resnext50_32x4d, wide_resnet50_2
from torchvision.models.resnet import BasicBlock, ResNet

from study.config.hyperparameters import Hyperparameters
from study.training.dataset import DeviceImages
from study.training.models.small_conv import use_small_conv

HEAD = "fc."


class PreActivationResNet(nn.Module):
    """timm's ResNet V2 (He et al. 2016, "Identity mappings") in the form the other families have."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        import timm  # a second of import that no other family needs

        backbone: Any = timm.create_model(f"resnetv2_{depth}", num_classes=0)
        self.backbone = backbone
        self.fc: nn.Module = nn.Linear(backbone.num_features, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [B, outputs] for [B, 3, H, W]."""
        logits: torch.Tensor = self.fc(self.backbone(images))
        return logits


class DroppedLinear(nn.Linear):
    """A linear layer whose inputs are dropped at random in training; its weights are named as without that."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        super().__init__(features, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return [B, outputs] for [B, features]."""
        return super().forward(self.dropout(input))


def resnet10() -> ResNet:
    """Build the ResNet with one basic block a stage, which torchvision does not name."""
    return ResNet(BasicBlock, [1, 1, 1, 1])


BACKBONES: Mapping[tuple[str, int], Callable[[], nn.Module]] = {
    ("resnet", 10): resnet10,
    ("resnet", 18): resnet18,
    ("resnet", 34): resnet34,
    ("resnet", 50): resnet50,
    ("resnet", 101): resnet101,
    ("resnet", 152): resnet152,
    ("wide_resnet", 50): wide_resnet50_2,
    ("resnext", 50): resnext50_32x4d,
    ("resnet_v2", 50): lambda: PreActivationResNet(50),
    ("resnet_v2", 101): lambda: PreActivationResNet(101),
    ("resnet_v2", 152): lambda: PreActivationResNet(152),
}


def build_model(config: Hyperparameters, outputs: int = 1) -> nn.Module:
    """Build a classifier; ``initialize`` gives it its weights.

    Args:
        config: family, depth, head, head_width and head_dropout count; depth 10 has one basic block a stage.
        outputs: number of logits; 1 for two classes.

    Returns:
        A model that maps [B, 3, H, W] to [B, outputs]; without a head of its own the names in its state dict are
        torchvision's, but for family resnet_v2, where timm's stand behind ``backbone.``.
    """
    model: Any = BACKBONES[config.family, config.depth]()
    model.fc = HEADS[config.head](model.fc.in_features, outputs, config)
    built: nn.Module = model
    return built


def linear(features: int, outputs: int, config: Hyperparameters) -> nn.Module:
    """Make one linear layer, behind dropout if asked."""
    return (
        DroppedLinear(features, outputs, config.head_dropout) if config.head_dropout else nn.Linear(features, outputs)
    )


def mlp(features: int, outputs: int, config: Hyperparameters) -> nn.Module:
    """Make a hidden layer of ``head_width`` with ReLU and dropout, and a linear one."""
    return nn.Sequential(
        nn.Linear(features, config.head_width),
        nn.ReLU(inplace=True),
        nn.Dropout(config.head_dropout),
        nn.Linear(config.head_width, outputs),
    )


HEADS: Mapping[str, Callable[[int, int, Hyperparameters], nn.Module]] = {"linear": linear, "mlp": mlp}


def stages(model: nn.Module) -> list[list[nn.Module]]:
    """Return the parts of a backbone from the input on: the stem, then its four stages."""
    if isinstance(model, PreActivationResNet):
        backbone: Any = model.backbone
        return [[backbone.stem], *([stage] for stage in backbone.stages)]
    assert isinstance(model, ResNet)
    return [[model.conv1, model.bn1], [model.layer1], [model.layer2], [model.layer3], [model.layer4]]


def frozen_parts(model: nn.Module, freeze: str) -> list[nn.Module]:
    """Return the modules a freeze policy keeps as they are: none, ``stages<=k`` with the stem, or all but the head."""
    if freeze == "none":
        return []
    if freeze == "backbone":
        return [part for name, part in model.named_children() if not HEAD.startswith(name)]
    last = int(freeze.removeprefix("stages<="))
    return [part for stage in stages(model)[: last + 1] for part in stage]


def freeze_parts(model: nn.Module, freeze: str) -> None:
    """Take the frozen parameters, in place, out of the gradient."""
    for part in frozen_parts(model, freeze):
        part.requires_grad_(False)


def set_training(model: nn.Module, freeze: str) -> None:
    """Put a model into training mode, in place; frozen batch norms go on using and keeping their statistics."""
    model.train()
    for part in frozen_parts(model, freeze):
        part.eval()


EVAL_BATCH_SIZE = 256


@dataclass(frozen=True)
class Network:
    """A model with all that is needed to score images; ``to_device`` makes one."""

    model: nn.Module
    device: torch.device
    precision: str
    channels_last: bool

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 logits of normalised images [B, 3, S, S]: [B] for a model with one output, else [B, K]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: torch.Tensor = self.model(images)  # [B, 1] or [B, K]
        return (logits.squeeze(1) if logits.shape[1] == 1 else logits).float()


def to_device(model: nn.Module, device: torch.device, precision: str, channels_last: bool) -> Network:
    """Move a model to where and how it computes, in place; its state dict keeps its names, shapes and values."""
    model.to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if device.type == "cpu" and precision == "bf16":
        use_small_conv(model)
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
