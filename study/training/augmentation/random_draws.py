"""Random numbers, one per image, from the CPU generator that is passed in, so that every device sees the same."""

from __future__ import annotations

import numpy as np
import torch

_SEEDS = 2**62


def uniform(
    count: int, low: float | torch.Tensor, high: float | torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Draw from [low, high), bounds being numbers or one per image: [count]."""
    return low + (high - low) * torch.rand(count, generator=generator)


def log_uniform(count: int, low: torch.Tensor, high: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw numbers whose logarithm is uniform: [count]."""
    return torch.exp(uniform(count, torch.log(low), torch.log(high), generator))


def random_signs(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw -1 or 1: [count]."""
    return 1.0 - 2.0 * (torch.rand(count, generator=generator) < 0.5).float()


def beta(count: int, alpha: float, generator: torch.Generator) -> torch.Tensor:
    """Draw from Beta(alpha, alpha): [count], in [0, 1]."""
    # torch's own Beta takes no generator.
    stream = np.random.default_rng(int(torch.randint(_SEEDS, (), generator=generator)))
    return torch.from_numpy(stream.beta(alpha, alpha, count)).float()


def rectangle_sides(
    area: torch.Tensor, ratio: tuple[float, float], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the sides of rectangles of a given area that fit into a unit square.

    Args:
        area: [B], in (0, 1].
        ratio: smallest and largest width / height, one the inverse of the other or nearly; it is log-uniform
            over the part of that range in which both sides are at most 1.
        generator: of the CPU.

    Returns:
        Width and height, each [B].
    """
    low, high = torch.clamp(area, min=ratio[0]), torch.clamp(1 / area, max=ratio[1])
    root = torch.sqrt(log_uniform(len(area), low, high, generator))
    side = torch.sqrt(area)
    return (side * root).clamp_(max=1), (side / root).clamp_(max=1)


def broadcast_to(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Move one number per image to the images' device, shaped to multiply them: [B] -> [B, 1, 1, 1]."""
    return values.to(images.device, images.dtype).view(-1, 1, 1, 1)
