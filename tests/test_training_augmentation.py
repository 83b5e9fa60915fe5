"""Batch augmentations against their single-image references."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate as rotate_one

from study.hyperparameters import Augmentation
from study.training.augmentation import AUGMENTATIONS, MAX_ROTATION_DEG, flip, rotate, rotate_by


def pictures(count: int, size: int = 32) -> torch.Tensor:
    """Smooth pictures, so that two ways to interpolate agree."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_augmentation_of_the_study_file_exists() -> None:
    assert set(AUGMENTATIONS) == set(get_args(Augmentation))


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_stream_alone_decides(name: str) -> None:
    images = pictures(16).contiguous(memory_format=torch.channels_last)
    augment = AUGMENTATIONS[name]
    one, again = augment(images, seeded()), augment(images, seeded())
    assert torch.equal(one, again)
    assert one.is_contiguous(memory_format=torch.channels_last)
    if name != "none":
        assert not torch.equal(one, augment(images, seeded(2)))


def test_flip_mirrors_about_half_of_the_images_and_nothing_else() -> None:
    images = pictures(200, size=8)
    flipped = flip(images, seeded())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


@pytest.mark.parametrize("degrees", [-30.0, -7.5, 0.0, 12.0, 30.0])
def test_rotate_turns_as_torchvision_does(degrees: float) -> None:
    images = pictures(2)
    ours = rotate_by(images, torch.full((2,), math.radians(degrees)))
    reference = torch.stack([rotate_one(one, degrees, InterpolationMode.BILINEAR) for one in images])
    middle = (..., slice(8, 24), slice(8, 24))  # the corners differ on purpose: ours have the border's colour
    assert torch.allclose(ours[middle], reference[middle], atol=0.02)
    if degrees:
        assert not torch.allclose(ours[middle], images[middle], atol=0.02)


def test_each_image_has_its_own_angle_within_the_limit() -> None:
    one = pictures(1).expand(24, -1, -1, -1)
    turned = rotate(one, seeded())
    assert len({tuple(image.flatten().tolist()) for image in turned}) == 24
    limit = math.radians(MAX_ROTATION_DEG)
    angles = (torch.rand(24 * 2, generator=seeded())[24:] * 2 - 1) * limit  # after the draws of flip
    mirrored = torch.rand(24, generator=seeded()) < 0.5
    start = torch.where(mirrored[:, None, None, None], one.flip(3), one)
    for at in range(24):
        expected = rotate_one(start[at], math.degrees(angles[at]), InterpolationMode.BILINEAR)
        assert torch.allclose(turned[at, :, 8:24, 8:24], expected[:, 8:24, 8:24], atol=0.02)


def test_corners_take_the_colour_of_the_border() -> None:
    white = torch.ones(1, 3, 16, 16)
    assert torch.allclose(rotate_by(white, torch.tensor([0.5])), white, atol=1e-6)
