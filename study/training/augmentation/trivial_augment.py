"""TrivialAugment: one random operation of random strength for each image, computed only for the images that drew it.

The operations and their widest ranges are those of the paper's wide space (Müller & Hutter 2021): identity, shear
0.99, translation (32 of 224 pixels, here 1/7 of the side at any size), rotation 135 degrees, brightness, contrast,
saturation and sharpness 1 +- 0.99, posterize down to 2 bits, solarize from just above 1 down to 0, autocontrast and
equalize. The strength is continuous instead of one of 31 levels, shears keep the middle of the image, and geometric
operations are bilinear and continue the border's colour beyond the edge.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from study.training.augmentation.geometry import rotation_matrices, shear_matrices, translation_matrices, warp
from study.training.augmentation.pixelwise import blend_, brighten_, contrast_, saturate_
from study.training.augmentation.random_draws import broadcast_to, random_signs

MAX_SHEAR = 0.99
MAX_SHIFT = 32 / 224
MAX_ROTATION_DEG = 135.0
MAX_FACTOR = 0.99
MAX_BITS, MIN_BITS = 8, 2
_LEVELS = 256
SOLARIZE_FROM = _LEVELS / (_LEVELS - 1)  # above 1, so that the weakest leaves white alone

Move = Callable[[torch.Tensor], torch.Tensor]
Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def identity(images: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Return the images as they are."""
    return images


def sharpen_(images: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Blend with a smoothed image, outermost pixels kept, in place: torchvision's ``adjust_sharpness`` per image."""
    channels = images.shape[1]
    kernel = images.new_ones(channels, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(images, kernel / 13, groups=channels)
    return blend_(images, smooth, factors)


def posterize(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Keep a whole number of bits [B] of each value: torchvision's ``posterize``."""
    levels = broadcast_to(2 ** torch.round(bits), images)
    return torch.minimum((images * levels).floor_(), levels - 1) / levels


def solarize(images: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Invert the values from a threshold [B] on: torchvision's ``solarize``."""
    return torch.where(images >= broadcast_to(thresholds, images), 1 - images, images)


def autocontrast(images: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to [0, 1], a flat one left alone: torchvision's ``autocontrast``; no strength."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = low == high
    low, width = torch.where(flat, 0, low), torch.where(flat, 1, high - low)
    return ((images - low) / width).clamp_(0, 1)


def equalize(images: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Flatten each channel's histogram of 256 levels: torchvision's ``equalize``, that is PIL's; no strength."""
    levels = (images * (_LEVELS - 1e-3)).long().flatten(2)  # [B, C, S*S]
    histogram = torch.zeros(*levels.shape[:2], _LEVELS, dtype=torch.long, device=images.device)
    histogram.scatter_add_(2, levels, torch.ones_like(levels))
    total = histogram.cumsum(2)
    brightest = histogram.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - brightest) // (_LEVELS - 1)
    table = ((total - histogram + step // 2) // step.clamp(min=1)).clamp_(0, _LEVELS - 1)
    table = torch.where(step == 0, torch.arange(_LEVELS, device=images.device), table)
    flattened = table.gather(2, levels).to(images.dtype).div_(_LEVELS - 1)
    return flattened.view(images.shape)


def _factors(amounts: torch.Tensor) -> torch.Tensor:
    return 1 + MAX_FACTOR * amounts


def _none(amounts: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(amounts)


GEOMETRIC: dict[str, Move] = {
    "shear_x": lambda amounts: shear_matrices(MAX_SHEAR * amounts, _none(amounts)),
    "shear_y": lambda amounts: shear_matrices(_none(amounts), MAX_SHEAR * amounts),
    "translate_x": lambda amounts: translation_matrices(MAX_SHIFT * amounts, _none(amounts)),
    "translate_y": lambda amounts: translation_matrices(_none(amounts), MAX_SHIFT * amounts),
    "rotate": lambda amounts: rotation_matrices(MAX_ROTATION_DEG * amounts),
}
"""The matrices of signed amounts [B] in [-1, 1]; all are resampled at once."""

PIXELWISE: dict[str, Change] = {
    "identity": identity,
    "brightness": lambda images, amounts: brighten_(images, _factors(amounts)),
    "contrast": lambda images, amounts: contrast_(images, _factors(amounts)),
    "saturation": lambda images, amounts: saturate_(images, _factors(amounts)),
    "sharpness": lambda images, amounts: sharpen_(images, _factors(amounts)),
    "posterize": lambda images, amounts: posterize(images, MAX_BITS - (MAX_BITS - MIN_BITS) * amounts.abs()),
    "solarize": lambda images, amounts: solarize(images, SOLARIZE_FROM * (1 - amounts.abs())),
    "autocontrast": autocontrast,
    "equalize": equalize,
}
"""The new images of signed amounts [B] in [-1, 1]; the images given may be overwritten."""

OPERATION_NAMES = (*GEOMETRIC, *PIXELWISE)


def trivial(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Apply one random operation to each image, at an amount uniform in [0, strength] of its widest range."""
    count = len(images)
    kinds = torch.randint(len(OPERATION_NAMES), (count,), generator=generator)
    amounts = strength * torch.rand(count, generator=generator) * random_signs(count, generator)
    return apply_operations(images, kinds, amounts)


def apply_operations(images: torch.Tensor, kinds: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
    """Apply to each image its own operation.

    Args:
        images: [B, C, S, S], float in [0, 1].
        kinds: [B], indices into ``OPERATION_NAMES``, on the CPU.
        amounts: [B], in [-1, 1], on the CPU; operations without a direction use the absolute value.
    """
    changed = images.clone()
    moved = torch.nonzero(kinds < len(GEOMETRIC)).flatten()
    if len(moved):
        matrices = torch.empty(len(moved), 3, 3)
        for kind, matrix in enumerate(GEOMETRIC.values()):
            selected = kinds[moved] == kind
            matrices[selected] = matrix(amounts[moved][selected])
        index = moved.to(images.device)
        changed[index] = warp(images[index], matrices)
    for kind, change in enumerate(PIXELWISE.values(), len(GEOMETRIC)):
        selected = torch.nonzero(kinds == kind).flatten()
        if len(selected) and change is not identity:
            index = selected.to(images.device)
            changed[index] = change(images[index], amounts[selected])
    return changed
