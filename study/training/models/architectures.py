"""The classifiers a trial can train: a backbone of some family and depth, and a head named `fc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import (
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    ResNeXt50_32X4D_Weights,
    Wide_ResNet50_2_Weights,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnext50_32x4d,
    wide_resnet50_2,
)
from torchvision.models.resnet import BasicBlock, ResNet

from study.config.hyperparameters import Hyperparameters
from study.training.dataset import Batches
from study.training.models.small_conv import use_small_conv
from study.training.models.winograd import use_winograd

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


@dataclass(frozen=True)
class Architecture:
    """How a backbone is built, and where its ImageNet weights are published; None where nobody publishes any."""

    build: Callable[[], nn.Module]
    weights_url: str | None = None


_TIMM = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"
ARCHITECTURES: dict[tuple[str, int], Architecture] = {
    ("resnet", 10): Architecture(resnet10),
    ("resnet", 18): Architecture(resnet18, ResNet18_Weights.IMAGENET1K_V1.url),
    ("resnet", 34): Architecture(resnet34, ResNet34_Weights.IMAGENET1K_V1.url),
    ("resnet", 50): Architecture(resnet50, ResNet50_Weights.IMAGENET1K_V2.url),
    ("resnet", 101): Architecture(resnet101, ResNet101_Weights.IMAGENET1K_V2.url),
    ("resnet", 152): Architecture(resnet152, ResNet152_Weights.IMAGENET1K_V2.url),
    ("wide_resnet", 50): Architecture(wide_resnet50_2, Wide_ResNet50_2_Weights.IMAGENET1K_V2.url),
    ("resnext", 50): Architecture(resnext50_32x4d, ResNeXt50_32X4D_Weights.IMAGENET1K_V2.url),
    ("resnet_v2", 50): Architecture(lambda: PreActivationResNet(50), _TIMM.format("resnetv2_50.a1h_in1k")),
    ("resnet_v2", 101): Architecture(lambda: PreActivationResNet(101), _TIMM.format("resnetv2_101.a1h_in1k")),
    ("resnet_v2", 152): Architecture(lambda: PreActivationResNet(152)),
}
"""By family and depth; the weights are torchvision's, and for resnet_v2 timm's (trained on pixels in [-1, 1])."""


def build_model(config: Hyperparameters, outputs: int = 1) -> nn.Module:
    """Build a classifier; ``initialize`` gives it its weights.

    Args:
        config: family, depth, head, head_width and head_dropout count; depth 10 has one basic block a stage.
        outputs: number of logits; 1 for two classes.

    Returns:
        A model that maps [B, 3, H, W] to [B, outputs]; without a head of its own the names in its state dict are
        torchvision's, but for family resnet_v2, where timm's stand behind ``backbone.``.
    """
    model: Any = ARCHITECTURES[config.family, config.depth].build()
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


def after_frozen(model: nn.Module, freeze: str) -> nn.Module:
    """Return what maps the output of the frozen parts to what the model returns."""
    network: Any = model
    if freeze == "backbone":
        head: nn.Module = network.fc
        return head
    left = [part for stage in stages(model)[int(freeze.removeprefix("stages<=")) + 1 :] for part in stage]
    if isinstance(model, PreActivationResNet):
        return nn.Sequential(*left, network.backbone.norm, network.backbone.head, network.fc)
    return nn.Sequential(*left, network.avgpool, nn.Flatten(1), network.fc)


def freeze_parts(model: nn.Module, freeze: str) -> None:
    """Take the frozen parameters, in place, out of the gradient."""
    for part in frozen_parts(model, freeze):
        part.requires_grad_(False)


def set_training(model: nn.Module, freeze: str) -> None:
    """Put a model into training mode, in place; frozen batch norms go on using and keeping their statistics."""
    model.train()
    for part in frozen_parts(model, freeze):
        part.eval()


def pool_before_relu(model: nn.Module) -> None:
    """Exchange a ResNet's first ReLU and pooling, in place: ReLU and its gradient then take a quarter of the numbers.

    Exact to the last bit: the largest of some numbers is the same before and after ReLU, and so is where it stands
    unless it is negative, when no gradient passes.
    """
    if isinstance(model, ResNet) and isinstance(model.maxpool, nn.MaxPool2d):
        network: Any = model
        network.relu, network.maxpool = network.maxpool, network.relu


RGB = 3


@dataclass(frozen=True)
class Network:
    """A model with all that is needed to score images; ``to_device`` makes one.

    ``freeze`` says which parts of it are frozen, so that their ``features`` can stand for an image.
    """

    model: nn.Module
    device: torch.device
    precision: str
    channels_last: bool
    freeze: str = "none"

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 logits: [B] for a model with one output, else [B, K].

        Args:
            images: [B, 3, S, S], normalised; or their ``features``.
        """
        is_image = images.ndim == 4 and images.shape[1] == RGB
        model = self.model if is_image else after_frozen(self.model, self.freeze)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: torch.Tensor = model(images)  # [B, 1] or [B, K]
        return (logits.squeeze(1) if logits.shape[1] == 1 else logits).float()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the frozen parts give for normalised images [B, 3, S, S]: [B, C], of stages [B, C, H, W]."""
        received: list[torch.Tensor] = []
        model: Any = self.model
        if self.freeze == "backbone":
            handle = model.fc.register_forward_pre_hook(lambda head, inputs: received.append(inputs[0]))
        else:
            last = frozen_parts(model, self.freeze)[-1]
            handle = last.register_forward_hook(lambda part, inputs, output: received.append(output))
        try:
            self.logits(images)
        finally:
            handle.remove()
        return received[0]


def to_device(
    model: nn.Module, device: torch.device, precision: str, channels_last: bool, *, is_trained: bool = False
) -> Network:
    """Move a model to where and how it computes, in place; its state dict keeps its names, shapes and values.

    ``is_trained`` lets float32 convolutions on a CPU round otherwise than ``torch.conv2d``, where that is faster.
    """
    model.to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if device.type == "cpu" and precision == "bf16":
        use_small_conv(model)
    if device.type == "cpu" and precision == "fp32" and channels_last and is_trained:
        use_winograd(model)
    if is_trained:
        pool_before_relu(model)
    return Network(model, device, precision, channels_last)


@torch.inference_mode()
def predict(network: Network, images: Batches) -> NDArray[np.float64]:
    """Return the logits of all images in their order: [N], or [N, K] for more than two classes."""
    network.model.eval()
    logits = []
    for index in torch.arange(len(images)).split(images.eval_batch_size(network.precision)):
        batch, _ = images.take(index, channels_last=network.channels_last)
        logits.append(network.logits(images.normalize(batch)))
    return torch.cat(logits).cpu().numpy().astype(np.float64)
