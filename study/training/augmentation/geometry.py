"""Operations that move images: each is a matrix per image, and several in a row are one resampling.

A matrix maps an output position to the input position it is read from, both in [-1, 1] with the origin in the middle,
x to the right and y down, as `torch.nn.functional.affine_grid` has it with ``align_corners=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from study.training.augmentation.random_draws import rectangle_sides, uniform

CROP_RATIO = (3 / 4, 4 / 3)

Draw = Callable[[int, float, torch.Generator], torch.Tensor]
"""Draw the matrices [B, 3, 3] of B images at a strength."""


def draw_flip(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Mirror left-right with the probability ``strength``."""
    return mirror_matrices(draw_mirrored(count, strength, generator))


def draw_mirrored(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Draw which images are mirrored: [count], bool."""
    return torch.rand(count, generator=generator) < strength


def draw_rotate(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Turn by an angle uniform in [-strength, strength] degrees."""
    return rotation_matrices(uniform(count, -strength, strength, generator))


def draw_shift(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Move along each axis by a share of the side uniform in [-strength, strength]."""
    right = uniform(count, -strength, strength, generator)
    return translation_matrices(right, uniform(count, -strength, strength, generator))


def draw_crop(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Cut out a part whose share of the area is uniform in [strength, 1], and stretch it to the whole.

    Width / height is log-uniform in [3/4, 4/3], or in what part of it fits into the image; the place is uniform.
    """
    width, height = rectangle_sides(uniform(count, strength, 1.0, generator), CROP_RATIO, generator)
    middle_x = uniform(count, width - 1, 1 - width, generator)
    return crop_matrices(width, height, middle_x, uniform(count, height - 1, 1 - height, generator))


GEOMETRIC: dict[str, Draw] = {"flip": draw_flip, "rotate": draw_rotate, "shift": draw_shift, "crop": draw_crop}


def mirror_matrices(mirrored: torch.Tensor) -> torch.Tensor:
    """Return the matrices [B, 3, 3] that mirror where [B] is true."""
    return _affine(len(mirrored), {(0, 0): 1.0 - 2.0 * mirrored.float()})


def rotation_matrices(angles_deg: torch.Tensor) -> torch.Tensor:
    """Return the matrices [B, 3, 3] that turn counter-clockwise by [B] degrees."""
    angles = torch.deg2rad(angles_deg)
    cos, sin = torch.cos(angles), torch.sin(angles)
    return _affine(len(angles), {(0, 0): cos, (0, 1): -sin, (1, 0): sin, (1, 1): cos})


def translation_matrices(right: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Return the matrices [B, 3, 3] that move by shares [B] of the side."""
    return _affine(len(right), {(0, 2): -2 * right, (1, 2): -2 * down})


def shear_matrices(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the matrices [B, 3, 3] that read at (x + shear_x * y, y + shear_y * x), so the middle stays."""
    return _affine(len(x), {(0, 1): x, (1, 0): y})


def crop_matrices(
    width: torch.Tensor, height: torch.Tensor, middle_x: torch.Tensor, middle_y: torch.Tensor
) -> torch.Tensor:
    """Return the matrices [B, 3, 3] that stretch a part to the whole.

    Args:
        width: [B], share of the side; so is ``height``.
        height: see ``width``.
        middle_x: [B], in [-1, 1], where the part's middle is; so is ``middle_y``.
        middle_y: see ``middle_x``.
    """
    return _affine(len(width), {(0, 0): width, (1, 1): height, (0, 2): middle_x, (1, 2): middle_y})


def compose(matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the matrix per image [B, 3, 3] of operations applied in the order given."""
    whole = matrices[0]
    for later in matrices[1:]:
        whole = whole @ later  # what the later one reads lies where the earlier one wrote
    return whole


def warp(images: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Resample each image with its own matrix: bilinear, and beyond the edge the border's colour.

    Args:
        images: [B, C, S, S], float in [0, 1].
        matrices: [B, 3, 3], on the CPU.
    """
    grid = _sampling_grid(matrices.to(images), images.shape[3])
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved.clamp_(0, 1)


def mirror(images: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
    """Mirror the images for which [B] is true, to the bit."""
    chosen = torch.nonzero(mirrored).flatten().to(images.device)
    changed = images.clone(memory_format=torch.preserve_format)
    changed[chosen] = images[chosen].flip(3)
    return changed


def _sampling_grid(matrices: torch.Tensor, size_px: int) -> torch.Tensor:
    """Return where each output pixel is read from, as `affine_grid` does in forty times the time: [B, S, S, 2]."""
    middles = (2 * torch.arange(size_px, device=matrices.device) + 1) / size_px - 1  # of the pixels, in [-1, 1]
    by_column = matrices[:, :2, 0:1] * middles  # [B, 2, S]
    by_row = matrices[:, :2, 1:2] * middles + matrices[:, :2, 2:3]
    return (by_row[..., None] + by_column[:, :, None]).permute(0, 2, 3, 1)


def _affine(count: int, entries: dict[tuple[int, int], torch.Tensor]) -> torch.Tensor:
    matrices = torch.eye(3).repeat(count, 1, 1)
    for (row, column), values in entries.items():
        matrices[:, row, column] = values
    return matrices
