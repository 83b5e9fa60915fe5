"""Operations that change pixels where they are, each by its own amount: one function and one registry line each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from study.training.augmentation.random_draws import broadcast_to, rectangle_sides, uniform

GREY = (0.2989, 0.587, 0.114)
SMALLEST_ERASED = 0.02
ERASE_RATIO = (0.3, 3.3)
_SIGMAS = 3.0

Change = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]
"""Return the changed images [B, C, S, S] at a strength."""


def colour(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Change brightness, then contrast, then saturation, each by a factor uniform in [1 - strength, 1 + strength]."""
    low, high = 1 - strength, 1 + strength
    factors = [uniform(len(images), low, high, generator) for _ in range(3)]
    return saturate_(contrast_(brighten_(images.clone(), factors[0]), factors[1]), factors[2])


def brighten_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend with black, in place: torchvision's ``adjust_brightness`` with a factor [B] per image."""
    return images.mul_(broadcast_to(factors, images)).clamp_(0, 1)


def contrast_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend with the grey image's mean, in place: torchvision's ``adjust_contrast`` with a factor [B] per image."""
    weights = torch.tensor(GREY, device=images.device)
    # The mean of the grey image is the grey of the channels' means, and needs no grey image.
    return blend_(images, (images.mean((2, 3)) @ weights).view(-1, 1, 1, 1), factors)


def saturate_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend with the grey image, in place: torchvision's ``adjust_saturation`` with a factor [B] per image."""
    red, green, blue = images.unbind(1)
    grey = (GREY[0] * red).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    return blend_(images, grey[:, None], factors)


def blend_(images: torch.Tensor, other: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Make the images factor * images + (1 - factor) * other, in [0, 1]."""
    share = broadcast_to(factors, images)
    return images.mul_(share).add_(other * (1 - share)).clamp_(0, 1)


def blur(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Blur with a Gaussian whose standard deviation is uniform in [0, strength] pixels."""
    return blur_by(images, uniform(len(images), 0.0, strength, generator), math.ceil(_SIGMAS * strength))


def blur_by(images: torch.Tensor, sigmas_px: torch.Tensor, radius_px: int) -> torch.Tensor:
    """Blur each image with its own Gaussian, cut off at a radius and reflected at the edges.

    Args:
        images: [B, C, S, S], float in [0, 1].
        sigmas_px: [B], at least 0.
        radius_px: of the kernel; at most S - 1, which is all a reflection has.
    """
    count, channels, height, width = images.shape
    radius = min(radius_px, height - 1, width - 1)
    kernels = _gaussians(sigmas_px, radius).to(images).repeat_interleave(channels, 0)[:, None]  # [B*C, 1, taps]
    planes = images.reshape(1, count * channels, height, width)
    planes = functional.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = functional.conv2d(planes, kernels[:, :, None, :], groups=count * channels)
    planes = functional.conv2d(planes, kernels[:, :, :, None], groups=count * channels)
    return planes.view(images.shape).clamp_(0, 1)


def _gaussians(sigmas_px: torch.Tensor, radius: int) -> torch.Tensor:
    """Return kernels that sum to 1: [B, 2 * radius + 1]; a sigma of 0 leaves the image."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.softmax(-0.5 * (offsets / sigmas_px.clamp(min=1e-3)[:, None]) ** 2, 1)


def erase(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Cover one rectangle of each image with one random colour.

    Its share of the area is uniform in [0.02, strength] (the strength itself if smaller) and its width / height
    log-uniform in [0.3, 3.3], restricted to what fits. Sides are rounded down to whole pixels, at least one.

    Source: random erasing, Zhong et al. 2020, with one random colour per rectangle instead of per pixel, so that no
    noise has to be sent to a GPU.
    """
    count, size = len(images), images.shape[3]
    area = uniform(count, min(SMALLEST_ERASED, strength), strength, generator)
    width, height = (torch.floor(side * size).clamp_(min=1) for side in rectangle_sides(area, ERASE_RATIO, generator))
    left = torch.floor(uniform(count, 0.0, size - width + 1, generator)).clamp_(max=size - width)
    top = torch.floor(uniform(count, 0.0, size - height + 1, generator)).clamp_(max=size - height)
    colours = torch.rand(count, images.shape[1], generator=generator).to(images)[:, :, None, None]
    return torch.where(box_masks(images, left, top, left + width, top + height), colours, images)


def box_masks(
    images: torch.Tensor, left: torch.Tensor, top: torch.Tensor, right: torch.Tensor, bottom: torch.Tensor
) -> torch.Tensor:
    """Return which pixels lie in each image's box [left, right) x [top, bottom): [B, 1, S, S], bool."""
    device = images.device
    rows = torch.arange(images.shape[2], device=device).view(1, 1, -1, 1)
    columns = torch.arange(images.shape[3], device=device).view(1, 1, 1, -1)
    left, top, right, bottom = torch.stack([left, top, right, bottom]).to(device).view(4, -1, 1, 1, 1)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


PIXELWISE: dict[str, Change] = {"colour": colour, "blur": blur, "erase": erase}
