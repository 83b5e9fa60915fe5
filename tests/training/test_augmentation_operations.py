"""Every operation against its single-image reference in torchvision, with the same parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from study.training.augmentation import trivial_augment as trivial
from study.training.augmentation.geometry import (
    compose,
    crop_matrices,
    draw_crop,
    draw_flip,
    draw_rotate,
    draw_shift,
    mirror_matrices,
    rotation_matrices,
    shear_matrices,
    translation_matrices,
    warp,
)
from study.training.augmentation.pipeline import build_augmenter
from study.training.augmentation.pixelwise import blur_by, brighten_, contrast_, saturate_

BILINEAR = InterpolationMode.BILINEAR
FACTORS = torch.tensor([0.0, 0.3, 0.9, 1.0, 1.4, 1.99])
MIDDLE = (..., slice(10, 22), slice(10, 22))  # beyond it the edges differ on purpose: ours have the border's colour
EXACT = 1e-5


def pictures(count: int = 6, size: int = 32) -> torch.Tensor:
    """Smooth pictures that reach 0 and 1."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return smooth.clamp(0, 1)


def in_bytes(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round() / 255


def ramps(size: int = 32) -> torch.Tensor:
    """Return an image that says of each pixel where it is, in [0, 1]: interpolation between its pixels is exact."""
    middles = (torch.arange(size) + 0.5) / size
    return torch.stack([middles.expand(size, -1), middles[:, None].expand(-1, size), torch.zeros(size, size)])[None]


def shares(*values: float) -> torch.Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize("angle_deg", [-170.0, -30.0, -7.5, 0.0, 12.0, 90.0, 135.0])
def test_rotation(angle_deg: float) -> None:
    images = pictures()
    expected = reference.rotate(images, angle_deg, BILINEAR)
    assert torch.allclose(
        warp(images, rotation_matrices(torch.full((6,), angle_deg)))[MIDDLE], expected[MIDDLE], atol=1e-4
    )


@pytest.mark.parametrize(("right_px", "down_px"), [(3, 0), (0, -4), (-2, 5)])
def test_translation(right_px: int, down_px: int) -> None:
    images = pictures()
    expected = reference.affine(images, 0.0, [right_px, down_px], 1.0, [0.0, 0.0], BILINEAR)
    moved = warp(images, translation_matrices(torch.full((6,), right_px / 32), torch.full((6,), down_px / 32)))
    assert torch.allclose(moved[MIDDLE], expected[MIDDLE], atol=1e-4)


@pytest.mark.parametrize("amount", [-0.99, -0.2, 0.4])
@pytest.mark.parametrize("along_x", [True, False])
def test_shear(amount: float, along_x: bool) -> None:
    images, zero = pictures(), torch.zeros(6)
    angle = math.degrees(math.atan(amount))
    expected = reference.affine(images, 0.0, [0, 0], 1.0, [angle, 0.0] if along_x else [0.0, angle], BILINEAR)
    amounts = torch.full((6,), amount)
    moved = warp(images, shear_matrices(amounts, zero) if along_x else shear_matrices(zero, amounts))
    assert torch.allclose(moved[MIDDLE], expected[MIDDLE], atol=1e-4)


@pytest.mark.parametrize(("top", "left", "height", "width"), [(0, 0, 32, 32), (4, 9, 20, 18), (12, 0, 20, 26)])
def test_crop(top: int, left: int, height: int, width: int) -> None:
    images = pictures()
    expected = reference.resized_crop(images, top, left, height, width, [32, 32], BILINEAR, antialias=False)
    part = [width / 32, height / 32, (2 * left + width) / 32 - 1, (2 * top + height) / 32 - 1]
    cut = warp(images, crop_matrices(*(torch.full((6,), value) for value in part)))
    inside = (..., slice(1, -1), slice(1, -1))  # at its edge the reference sees nothing beyond the part
    assert torch.allclose(cut[inside], expected[inside], atol=1e-4)


def test_mirroring_as_a_matrix_is_the_mirror_image() -> None:
    images = pictures(2)
    moved = warp(images, mirror_matrices(torch.tensor([True, False])))
    assert torch.allclose(moved, torch.stack([images[0].flip(2), images[1]]), atol=EXACT)


def test_corners_take_the_colour_of_the_border() -> None:
    white = torch.ones(1, 3, 16, 16)
    assert torch.allclose(warp(white, rotation_matrices(shares(40))), white, atol=1e-6)


MATRICES = {
    "flip": mirror_matrices(torch.tensor([True])),
    "rotate": rotation_matrices(shares(20)),
    "shift": translation_matrices(shares(0.1), shares(-0.05)),
    "crop": crop_matrices(shares(0.7), shares(0.8), shares(0.15), shares(-0.1)),
    "shear": shear_matrices(shares(0.2), shares(0.0)),
}


@pytest.mark.parametrize("first", MATRICES)
@pytest.mark.parametrize("second", MATRICES)
@pytest.mark.parametrize("third", MATRICES)
def test_one_resampling_is_what_its_operations_are_one_after_another(first: str, second: str, third: str) -> None:
    matrices = [MATRICES[name] for name in (first, second, third)]
    stepwise = ramps()
    for matrix in matrices:
        stepwise = warp(stepwise, matrix)
    at_once = warp(ramps(), compose(matrices))
    places = torch.cat([ramps()[0, :2] * 2 - 1, torch.ones(1, 32, 32)]).flatten(1)  # [3, S*S]: x, y, 1
    seen = torch.ones(32 * 32, dtype=torch.bool)  # no step reads beyond the edge, nor next to what did
    for matrix in reversed(matrices):
        places = matrix[0] @ places
        seen &= (places[:2].abs() < 26 / 32).all(0)
    assert seen.sum() > 100
    assert torch.allclose(at_once.flatten(2)[0, :2, seen], (places[:2, seen] + 1) / 2, atol=EXACT)
    assert torch.allclose(at_once.flatten(2)[..., seen], stepwise.flatten(2)[..., seen], atol=EXACT)


def test_geometric_steps_in_a_row_are_one_resampling_in_their_order() -> None:
    images, stream = pictures(), torch.Generator().manual_seed(3)
    augmented, _ = build_augmenter("crop(0.7)+flip+rotate(15)+shift(0.2)")(images, torch.zeros(6, 2), stream)
    again = torch.Generator().manual_seed(3)
    draws = ((draw_crop, 0.7), (draw_flip, 0.5), (draw_rotate, 15.0), (draw_shift, 0.2))
    expected = warp(images, compose([draw(6, strength, again) for draw, strength in draws]))
    assert torch.equal(augmented, expected)


def test_the_order_of_operations_counts() -> None:
    combined = compose([MATRICES["crop"], MATRICES["rotate"]])
    assert not torch.allclose(combined, compose([MATRICES["rotate"], MATRICES["crop"]]), atol=1e-2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brighten_, reference.adjust_brightness),
        (contrast_, reference.adjust_contrast),
        (saturate_, reference.adjust_saturation),
        (trivial.sharpen_, reference.adjust_sharpness),
    ],
)
def test_factors(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    images = pictures()
    expected = torch.stack([theirs(image, float(by)) for image, by in zip(images, FACTORS, strict=True)])
    assert torch.allclose(ours(images.clone(), FACTORS), expected, atol=EXACT)


def test_blur() -> None:
    images, sigmas = pictures(), torch.tensor([0.3, 0.5, 1.0, 1.7, 2.0, 3.0])
    expected = [
        reference.gaussian_blur(image, [13, 13], [float(by)] * 2) for image, by in zip(images, sigmas, strict=True)
    ]
    assert torch.allclose(blur_by(images, sigmas, 6), torch.stack(expected), atol=EXACT)


def test_no_blur_and_a_kernel_wider_than_the_image() -> None:
    images = pictures(2, 16)
    assert torch.allclose(blur_by(images, torch.zeros(2), 3), images, atol=1e-6)
    wide = blur_by(images, torch.full((2,), 8.0), 24)
    assert torch.allclose(wide, reference.gaussian_blur(images, [31, 31], [8.0, 8.0]), atol=EXACT)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_posterize(bits: int) -> None:
    images = pictures()
    assert torch.allclose(trivial.posterize(images, torch.full((6,), bits)), reference.posterize(images, bits))


def test_solarize() -> None:
    images, thresholds = pictures(), torch.tensor([0.0, 0.2, 0.5, 0.7, 0.99, 1.0])
    expected = [reference.solarize(image, float(at)) for image, at in zip(images, thresholds, strict=True)]
    assert torch.equal(trivial.solarize(images, thresholds), torch.stack(expected))


def test_autocontrast() -> None:
    images = pictures() * 0.6 + 0.1
    images[2, 1] = 0.4  # a flat channel
    assert torch.allclose(trivial.autocontrast(images, torch.zeros(6)), reference.autocontrast(images), atol=EXACT)


@pytest.mark.parametrize("size", [16, 32, 61])
def test_equalize(size: int) -> None:
    images = in_bytes(pictures(size=size) ** 3)
    images[2, 1] = 0.0
    images[3] = in_bytes(images[3].round())  # two levels
    assert torch.allclose(trivial.equalize(images, torch.zeros(6)), reference.equalize(images), atol=1e-6)


@pytest.mark.parametrize("kind", trivial.OPERATION_NAMES)
@pytest.mark.parametrize("amount", [-0.8, 0.5])
def test_a_trivial_operation_changes_who_drew_it_and_nobody_else(kind: str, amount: float) -> None:
    images = pictures() * 0.6 + 0.1  # something to stretch
    kinds = torch.full((6,), trivial.OPERATION_NAMES.index("identity"))
    kinds[[1, 4]] = trivial.OPERATION_NAMES.index(kind)
    changed = trivial.apply_operations(images, kinds, torch.full((6,), amount))
    same = (changed == images).flatten(1).all(1)
    assert same.tolist() == [kind == "identity" or at not in (1, 4) for at in range(6)]


def trivially(kind: str, amounts: torch.Tensor) -> torch.Tensor:
    return trivial.apply_operations(pictures(), torch.full((6,), trivial.OPERATION_NAMES.index(kind)), amounts)


def test_trivial_gives_each_operation_its_own_amount() -> None:
    images, amounts = pictures(), torch.tensor([-1.0, -0.5, 0.0, 0.1, 0.5, 1.0])
    for kind, theirs in (
        ("brightness", reference.adjust_brightness),
        ("contrast", reference.adjust_contrast),
        ("saturation", reference.adjust_saturation),
        ("sharpness", reference.adjust_sharpness),
    ):
        expected = [theirs(image, 1 + 0.99 * float(by)) for image, by in zip(images, amounts, strict=True)]
        assert torch.allclose(trivially(kind, amounts), torch.stack(expected), atol=EXACT), kind
    turned = [reference.rotate(image, 135 * float(by), BILINEAR) for image, by in zip(images, amounts, strict=True)]
    assert torch.allclose(trivially("rotate", amounts)[MIDDLE], torch.stack(turned)[MIDDLE], atol=1e-4)
    bits = [8 - round(6 * abs(float(by))) for by in amounts]
    expected = [reference.posterize(image, by) for image, by in zip(images, bits, strict=True)]
    assert torch.allclose(trivially("posterize", amounts), torch.stack(expected))
    inverted = trivially("solarize", amounts)
    assert torch.equal(inverted[[0, 5]], 1 - images[[0, 5]])
    assert torch.equal(inverted[2], images[2])
    for kind, theirs in (("autocontrast", reference.autocontrast), ("equalize", reference.equalize)):
        assert torch.allclose(trivially(kind, amounts), theirs(images), atol=EXACT), kind
