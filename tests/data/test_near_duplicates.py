"""Planted copies are found, other faces of the same layout are not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

import study.data.near_duplicates as near
from study.config.study_config import DataSpec
from study.data import DataBundle, ImageSet, load_data
from study.data.dataset import make_bundle
from study.data.image_hash import grey_of, perceptual_hashes, reduce_images
from study.data.near_duplicates import duplicate_notice, duplicate_pairs, duplicate_pairs_within

COPIES = 100


def near_duplicates(train: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Tell which validation images have a near-duplicate in training: bool [M]."""
    duplicated = np.zeros(len(val), np.bool_)
    duplicated[duplicate_pairs(train, val).second] = True
    return duplicated


@pytest.fixture(scope="module", params=[64, 48, 32])
def faces(request: pytest.FixtureRequest) -> DataBundle:
    return load_data(DataSpec(image_size_px=request.param, count=400))


def saved_again(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray) -> np.ndarray:
    side = len(image)
    small = Image.fromarray(image).resize((round(side * 0.9),) * 2, Image.Resampling.BICUBIC)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def brightened(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.1, 0, 255).round().astype(np.uint8)


def moved(image: np.ndarray) -> np.ndarray:
    return np.pad(image, ((2, 0), (0, 2), (0, 0)), "edge")[: len(image), 2:]


@pytest.mark.parametrize("change", [saved_again, resized, brightened, moved])
def test_changed_copies_are_found(faces: DataBundle, change: Callable[[np.ndarray], np.ndarray]) -> None:
    copies = np.stack([change(image) for image in faces.train.images[:COPIES]])
    pairs = duplicate_pairs(faces.train.images, copies)
    assert (pairs.first == pairs.second).sum() >= 0.95 * COPIES
    assert (pairs.first != pairs.second).sum() <= 0.01 * COPIES


def test_other_faces_are_no_duplicates(faces: DataBundle) -> None:
    assert near_duplicates(faces.train.images, faces.val.images).sum() == 0
    assert duplicate_notice(faces) is None


def test_the_notice_names_the_pairs(faces: DataBundle) -> None:
    known = np.flatnonzero(faces.train.labels == 1)[:2]
    val = ImageSet(
        np.concatenate([faces.val.images[:78], faces.train.images[known]]),
        np.concatenate([faces.val.labels[:78], faces.train.labels[known]]),
        (*faces.val.names[:78], "copy/one", "copy/two"),
    )
    bundle = make_bundle("faces", faces.summary.image_size_px, faces.classes, {"train": faces.train, "val": val})
    notice = duplicate_notice(bundle)
    assert notice is not None
    assert notice.startswith("2 of 80 validation images (2.5%) have a near-duplicate in training")
    assert f"copy/one is like {faces.train.names[known[0]]}; copy/two is like {faces.train.names[known[1]]}" in notice


def test_pairs_within_a_set_come_once_and_in_order(faces: DataBundle) -> None:
    images = faces.train.images[[0, 1, 2, 0, 3, 1]]
    pairs = duplicate_pairs_within(images)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 1], [3, 5])


def test_large_images_are_found_too(faces: DataBundle) -> None:
    large = np.repeat(np.repeat(faces.train.images[:40], 3, axis=1), 3, axis=2)
    assert near_duplicates(large, large[::-1][:20]).all()
    assert not near_duplicates(large[:20], large[20:]).any()


def test_plain_pictures_are_alike_when_their_colour_is() -> None:
    plain = np.zeros((3, 32, 32, 3), np.uint8)
    plain[1], plain[2] = (250, 10, 10), (245, 12, 10)
    assert duplicate_pairs_within(plain).first.tolist() == [1]


def test_no_images_have_no_duplicates() -> None:
    none, some = np.empty((0, 32, 32, 3), np.uint8), np.zeros((2, 32, 32, 3), np.uint8)
    assert near_duplicates(none, some).tolist() == [False, False]
    assert near_duplicates(some, none).tolist() == []


def test_a_hash_of_a_moved_picture_is_that_of_moving_the_hashed() -> None:
    grey = grey_of(np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), np.uint8))
    by_hand = np.pad(grey, ((0, 0), (0, 2), (1, 0)), "edge")[:, 2:, :-1]
    assert np.array_equal(perceptual_hashes(grey, (-1, 0, 2))[2, 0], perceptual_hashes(by_hand)[0, 0])


def test_shrinking_averages_areas() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    edges, pixels = np.arange(65) * 3.5, np.arange(224)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None) / 3.5
    wanted = np.stack([weights @ images[1, ..., channel] @ weights.T for channel in range(3)], axis=-1)
    assert np.abs(reduce_images(images)[1] - wanted).max() <= 0.5 + 1e-3


def test_many_pairs_are_judged_by_a_sample(faces: DataBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = near.duplicate_pairs
    monkeypatch.setattr(near, "duplicate_pairs", lambda train, val: asked.append(len(val)) or real(train, val))
    monkeypatch.setattr(near, "NOTICE_PAIRS", len(faces.train) * len(faces.val) // 2 - 1)
    duplicate_notice(faces)
    assert asked == [-(-len(faces.val) // 3)], "never more pairs than that"
