"""What is drawn at random: in range, spread over it, and labels that say what is seen."""

from __future__ import annotations

import math

import pytest
import torch

from study.training.augmentation import trivial_augment as augment_trivial
from study.training.augmentation.geometry import draw_crop, draw_rotate, draw_shift
from study.training.augmentation.pipeline import build_augmenter
from study.training.augmentation.pixelwise import GREY
from study.training.augmentation.random_draws import beta

MANY = 2000


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(text: str, images: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return build_augmenter(text)(images, torch.zeros(len(images), 2), seeded(seed))[0]


def assert_uniform(values: torch.Tensor, low: float, high: float) -> None:
    """Compare quantiles; 2000 draws miss one by more than 0.05 of the range in one of a million cases."""
    assert low - 1e-5 <= float(values.min()) <= float(values.max()) <= high + 1e-5
    steps = torch.linspace(0.1, 0.9, 9)
    assert torch.allclose(torch.quantile(values.float(), steps), low + steps * (high - low), atol=0.06 * (high - low))


@pytest.mark.parametrize("share", [0.5, 0.2, 1.0])
def test_flip_mirrors_its_share_of_the_images_and_nothing_else(share: float) -> None:
    images = torch.rand(MANY, 3, 4, 4, generator=seeded(0))
    flipped = augmented(f"flip({share})", images)
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert abs(float(mirrored.float().mean()) - share) < 0.05


def test_angles() -> None:
    matrices = draw_rotate(MANY, 25.0, seeded())
    assert_uniform(torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0])), -25, 25)


def test_shifts() -> None:
    matrices = draw_shift(MANY, 0.2, seeded())
    right, down = matrices[:, 0, 2] / 2, matrices[:, 1, 2] / 2
    assert_uniform(right, -0.2, 0.2)
    assert_uniform(down, -0.2, 0.2)
    assert abs(float(torch.corrcoef(torch.stack([right, down]))[0, 1])) < 0.1


@pytest.mark.parametrize("smallest", [0.01, 0.3, 0.9])
def test_crops(smallest: float) -> None:
    matrices = draw_crop(MANY, smallest, seeded())
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    assert_uniform(width * height, smallest, 1)
    assert float((width / height).min()) >= 3 / 4 - 1e-5
    assert float((width / height).max()) <= 4 / 3 + 1e-5
    for side, middle in ((width, matrices[:, 0, 2]), (height, matrices[:, 1, 2])):
        assert float(side.max()) <= 1
        assert float((middle.abs() + side).max()) <= 1 + 1e-6  # the part lies inside the image
        assert abs(float(torch.sign(middle).mean())) < 0.1


def test_colours() -> None:
    grey = torch.full((MANY, 3, 2, 2), 0.5)  # has no contrast and no saturation to change
    assert_uniform(augmented("colour(0.4)", grey)[:, 0, 0, 0] / 0.5, 0.6, 1.4)
    stripes = torch.tensor([0.4, 0.6])[:, None].expand(MANY, 3, 2, 2).contiguous()  # grey: no saturation to change
    striped = augmented("colour(0.2)", stripes)[:, 0, :, 0]
    assert_uniform((striped[:, 1] - striped[:, 0]) / striped.sum(1) / 0.2, 0.8, 1.2)  # whatever the brightness
    reddish = stripes + torch.tensor([0.1, 0.0, 0.0])[:, None, None]
    out = augmented("colour(0.2)", reddish)[..., 0]  # [B, 3, 2]
    grey = torch.einsum("bcr,c->br", out, torch.tensor(GREY) / sum(GREY))
    chroma = out[:, 0] - out[:, 1]  # as brightness and contrast have it, so the stripes' difference divides them out
    saturation = chroma[:, 0] / 0.1 / ((grey[:, 1] - grey[:, 0]) / 0.2)
    assert_uniform(saturation, 0.8, 1.2)
    brightness, contrast = striped.sum(1), (striped[:, 1] - striped[:, 0]) / striped.sum(1)
    related = torch.corrcoef(torch.stack([brightness, contrast, saturation])) - torch.eye(3)
    assert float(related.abs().max()) < 0.1  # the three are drawn apart


def test_blurs() -> None:
    dots = torch.zeros(MANY, 3, 33, 33)
    dots[:, :, 16, 16] = 1
    spread = augmented("blur(2)", dots)[:, 0].sum(1)  # [B, S]
    variance = (spread * (torch.arange(33.0) - 16) ** 2).sum(1)
    wide = variance.sqrt()
    assert float(wide.max()) <= 2
    # A Gaussian narrower than half a pixel has less spread on pixels than its sigma says.
    assert abs(float((wide > 1).float().mean()) - 0.5) < 0.05
    assert abs(float((wide < 0.05).float().mean()) - 0.1) < 0.08


@pytest.mark.parametrize("most", [0.01, 0.25, 1.0])
def test_erased_rectangles(most: float) -> None:
    size = 40
    images = torch.full((MANY, 3, size, size), 2.0)  # no colour is 2, so what is erased is seen
    out = augmented(f"erase({most})", images)
    gone = out[:, 0] != 2
    rows, columns = gone.any(2), gone.any(1)
    height, width = rows.sum(1), columns.sum(1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None, :])
    for line, count in ((rows, height), (columns, width)):
        places = torch.arange(size).expand(MANY, -1)
        first, last = torch.where(line, places, size).amin(1), torch.where(line, places, -1).amax(1)
        assert torch.equal(last - first + 1, count)  # in one piece
        assert int(first.min()) == 0
        assert int(last.max()) == size - 1
    area = height * width / size**2
    assert 0 < float(area.min()) <= float(area.max()) <= most
    assert float(area.max()) > 0.8 * most
    colours = out.flatten(2).amin(2)
    assert torch.equal(torch.where(gone[:, None], out, colours[:, :, None, None]).flatten(2).amax(2), colours)
    assert_uniform(colours[:, 1], 0, 1)


def test_trivial_draws_every_operation_alike_and_strengths_up_to_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(images: torch.Tensor, kinds: torch.Tensor, amounts: torch.Tensor) -> torch.Tensor:
        drawn.append((kinds, amounts))
        return images

    monkeypatch.setattr(augment_trivial, "apply_operations", keep)
    augmented("trivial(0.3)", torch.zeros(7 * MANY, 3, 1, 1))
    (kinds, amounts) = drawn[0]
    counts = torch.bincount(kinds, minlength=len(augment_trivial.OPERATION_NAMES))
    assert len(counts) == len(augment_trivial.OPERATION_NAMES) == 14
    assert 850 < int(counts.min()) <= int(counts.max()) < 1150
    assert_uniform(amounts, -0.3, 0.3)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 8.0])
def test_beta_has_its_mean_and_variance(alpha: float) -> None:
    values = beta(20_000, alpha, seeded())
    assert 0 <= float(values.min()) <= float(values.max()) <= 1
    assert abs(float(values.mean()) - 0.5) < 0.02
    assert math.isclose(float(values.var()), 1 / (4 * (2 * alpha + 1)), rel_tol=0.05)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_images_as_it_says_in_the_labels(alpha: float) -> None:
    images = torch.rand(64, 3, 8, 8, generator=seeded(0))
    mixed, targets = build_augmenter(f"mixup({alpha})")(images, torch.eye(64), seeded())
    assert torch.allclose(mixed.flatten(1), targets @ images.flatten(1), atol=1e-5)  # every image is a class
    assert torch.allclose(targets.sum(1), torch.ones(64), atol=1e-6)
    assert int((targets > 0).sum(1).max()) == 2
    assert len(set(targets.diagonal().tolist())) > 50  # a share for each


@pytest.mark.parametrize("size", [16, 17])
def test_cutmix_labels_are_the_areas_seen(size: int) -> None:
    count = 64
    shades = torch.arange(count) / count
    images = shades.view(-1, 1, 1, 1).expand(-1, 3, size, size).contiguous()
    mixed, targets = build_augmenter("cutmix")(images, torch.eye(count), seeded())
    seen = (mixed[:, 0].flatten(1)[:, :, None] == shades).float().mean(1)  # [B, K]
    assert torch.allclose(targets, seen, atol=1e-6)
    pasted = mixed[:, 0] != images[:, 0]
    assert torch.equal(pasted, pasted.any(2)[:, :, None] & pasted.any(1)[:, None, :])  # a rectangle
    assert 0.1 < float(1 - targets.diagonal().mean()) < 0.6


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_partners_are_a_permutation(name: str) -> None:
    targets = build_augmenter(f"{name}(8)")(torch.rand(40, 3, 16, 16), torch.eye(40), seeded())[1]
    partners = targets - torch.diag(targets.diagonal())
    assert int((partners > 0).sum(0).max()) == 1
    assert int((partners > 0).sum()) > 30
