"""Augment whole batches on the device, each image on its own; one registry entry per name."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

MAX_ROTATION_DEG = 30.0

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def none(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the images as they are."""
    return images


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image left-right with probability 1/2.

    Args:
        images: [B, C, H, W], float.
        generator: a CPU generator, so that a GPU draws the same numbers.
    """
    mirrored = torch.rand(len(images), generator=generator) < 0.5  # [B]
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def rotate(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip, then rotate each image by an angle uniform in [-30, 30] degrees; corners take the border's colour.

    Args:
        images: [B, C, H, W], float, square.
        generator: a CPU generator, so that a GPU draws the same numbers.
    """
    images = flip(images, generator)
    angles = (torch.rand(len(images), generator=generator) * 2 - 1) * math.radians(MAX_ROTATION_DEG)  # [B]
    return rotate_by(images, angles)


def rotate_by(images: torch.Tensor, angles_rad: torch.Tensor) -> torch.Tensor:
    """Rotate each image counter-clockwise by its own angle, bilinear.

    Args:
        images: [B, C, H, W], float, square.
        angles_rad: [B].
    """
    cos, sin = torch.cos(angles_rad), torch.sin(angles_rad)
    zero = torch.zeros_like(cos)
    matrices = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)  # [B, 2, 3]
    grid = functional.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    turned = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last) if _is_channels_last(images) else turned


def _is_channels_last(images: torch.Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)


AUGMENTATIONS: dict[str, Augment] = {"none": none, "flip": flip, "rotate": rotate}
