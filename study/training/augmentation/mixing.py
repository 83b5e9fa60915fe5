"""Operations that blend two images and their labels: one function and one registry line each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from study.training.augmentation.pixelwise import box_masks
from study.training.augmentation.random_draws import beta, broadcast_to, uniform

Batch = tuple[torch.Tensor, torch.Tensor]
Mix = Callable[[torch.Tensor, torch.Tensor, float, torch.Generator], Batch]
"""Return the changed images [B, C, S, S] and class probabilities [B, K] at a strength."""


def mixup(images: torch.Tensor, targets: torch.Tensor, strength: float, generator: torch.Generator) -> Batch:
    """Blend each image and its label with another's; its own share is drawn from Beta(strength, strength).

    The partners are a permutation of the batch, so an image may meet itself.

    Source: Zhang et al. 2018; the share per image instead of per batch.
    """
    share = beta(len(images), strength, generator)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = torch.lerp(images[partner], images, broadcast_to(share, images)).clamp_(0, 1)
    return mixed, mix_targets(targets, partner, share)


def cutmix(images: torch.Tensor, targets: torch.Tensor, strength: float, generator: torch.Generator) -> Batch:
    """Paste a box of another image over each; both labels count by the area that is seen.

    The box's share of the area is drawn from Beta(strength, strength) before it is cut at the edge; its middle is
    uniform over the image, its shape square. The partners are a permutation of the batch.

    Source: Yun et al. 2019, the box per image instead of per batch.
    """
    count, size = len(images), images.shape[3]
    half = torch.floor(size * torch.sqrt(beta(count, strength, generator))) / 2
    partner = torch.randperm(count, generator=generator).to(images.device)
    middle = torch.floor(uniform(2 * count, 0.0, size, generator)).view(2, count)
    low = torch.floor(middle - half).clamp_(min=0)  # [2, B]: left and top
    high = torch.floor(middle + half).clamp_(max=size)
    pasted = (high - low).prod(0) / size**2
    box = box_masks(images, *low, *high)
    return torch.where(box, images[partner], images), mix_targets(targets, partner, 1 - pasted)


def mix_targets(targets: torch.Tensor, partner: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return share * own + (1 - share) * the partner's class probabilities: [B, K]."""
    return torch.lerp(targets[partner], targets, share.to(targets)[:, None])


MIXING: dict[str, Mix] = {"mixup": mixup, "cutmix": cutmix}
