"""Change the pixels of images where they are, each image by its own amount."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from study.training.augmentation.random_draws import beta, sides, spread, uniform

GREY = (0.2989, 0.587, 0.114)
SMALLEST_ERASED = 0.02
ERASE_RATIO = (0.3, 3.3)
_SIGMAS = 3.0


def colour(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Change brightness, then contrast, then saturation, each by a factor uniform in [1 - strength, 1 + strength]."""
    low, high = 1 - strength, 1 + strength
    factors = [uniform(len(images), low, high, generator) for _ in range(3)]
    return saturate_(contrast_(brighten_(images.clone(), factors[0]), factors[1]), factors[2])


def brighten_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend with black, in place: torchvision's ``adjust_brightness`` with a factor [B] per image."""
    return images.mul_(spread(factors, images)).clamp_(0, 1)


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
    share = spread(factors, images)
    return images.mul_(share).add_(other * (1 - share)).clamp_(0, 1)


def blur(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Blur with a Gaussian whose standard deviation is uniform in [0, strength] pixels."""
    return blur_by(images, uniform(len(images), 0.0, strength, generator), math.ceil(_SIGMAS * strength))


def blur_by(images: torch.Tensor, sigmas_px: torch.Tensor, radius_px: int) -> torch.Tensor:
    """Blur each image with its own Gaussian, cut off at a radius and reflected at the edges.

    Args:
        images: [B, C, S, S], float in [0, 1].
        sigmas_px: [B], at least 0.
        radius_px: of the kernel; at most S - 1 is used, as a reflection has no more.
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
    places = torch.arange(-radius, radius + 1, dtype=torch.float32)
    return torch.softmax(-0.5 * (places / sigmas_px.clamp(min=1e-3)[:, None]) ** 2, 1)


def erase(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Cover one rectangle of each image with one random colour.

    Its share of the area is uniform in [0.02, strength] (or is the strength, where that is less) and its width /
    height log-uniform in [0.3, 3.3], or in what part of it fits. Whole pixels are rounded down, to at least one.

    Source: random erasing, Zhong et al. 2020; there each pixel is random, here each rectangle, which a GPU gets
    without a picture of noise sent to it.
    """
    count, size = len(images), images.shape[3]
    area = uniform(count, min(SMALLEST_ERASED, strength), strength, generator)
    width, height = (torch.floor(side * size).clamp_(min=1) for side in sides(area, ERASE_RATIO, generator))
    left = torch.floor(uniform(count, 0.0, size - width + 1, generator)).clamp_(max=size - width)
    top = torch.floor(uniform(count, 0.0, size - height + 1, generator)).clamp_(max=size - height)
    colours = torch.rand(count, images.shape[1], generator=generator).to(images)[:, :, None, None]
    return torch.where(boxes(images, left, top, left + width, top + height), colours, images)


def boxes(
    images: torch.Tensor, left: torch.Tensor, top: torch.Tensor, right: torch.Tensor, bottom: torch.Tensor
) -> torch.Tensor:
    """Say which pixels lie in each image's box [left, right) x [top, bottom): [B, 1, S, S], bool."""
    device = images.device
    rows = torch.arange(images.shape[2], device=device).view(1, 1, -1, 1)
    columns = torch.arange(images.shape[3], device=device).view(1, 1, 1, -1)
    left, top, right, bottom = torch.stack([left, top, right, bottom]).to(device).view(4, -1, 1, 1, 1)
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)


def mixup(
    images: torch.Tensor, targets: torch.Tensor, strength: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each image and its label with another's; its own share is drawn from Beta(strength, strength).

    The partners are a permutation of the batch, so an image may meet itself.

    Source: Zhang et al. 2018; the share per image instead of per batch.
    """
    share = beta(len(images), strength, generator)
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = torch.lerp(images[partner], images, spread(share, images)).clamp_(0, 1)
    return mixed, mix_targets(targets, partner, share)


def cutmix(
    images: torch.Tensor, targets: torch.Tensor, strength: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
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
    box = boxes(images, *low, *high)
    return torch.where(box, images[partner], images), mix_targets(targets, partner, 1 - pasted)


def mix_targets(targets: torch.Tensor, partner: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return share * own + (1 - share) * the partner's class probabilities: [B, K]."""
    return torch.lerp(targets[partner], targets, share.to(targets)[:, None])
