"""Real photographs travel through the loader unharmed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from lfw import write_lfw_folder

from study.config.study_config import DataSpec
from study.data import load_data
from study.data.dataset import all_sets


@pytest.fixture
def lfw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    return write_lfw_folder(tmp_path / "lfw")


def test_real_faces_keep_every_pixel_and_label(lfw: Path) -> None:
    bundle = load_data(DataSpec(source="folder", path=str(lfw), image_size_px=25))
    assert bundle.classes == ("face", "other")
    assert bundle.summary.class_counts == {
        "train": {"face": 60, "other": 60},
        "val": {"face": 20, "other": 20},
        "test": {"face": 20, "other": 20},
    }
    assert bundle.summary.skipped == ()
    photos = np.rint(skimage.data.lfw_subset() * 255).astype(np.uint8)
    seen = []
    for images in all_sets(bundle).values():
        for pixels, label, name in zip(images.images, images.labels, images.names, strict=True):
            number = int(Path(name).stem)
            seen.append(number)
            assert label == (number >= 100)
            assert np.array_equal(pixels, np.repeat(photos[number][..., None], 3, axis=2))
    assert sorted(seen) == list(range(200))


def test_real_faces_can_be_enlarged(lfw: Path) -> None:
    bundle = load_data(DataSpec(source="folder", path=str(lfw), image_size_px=48))
    small = load_data(DataSpec(source="folder", path=str(lfw), image_size_px=25))
    assert bundle.train.images.shape == (120, 48, 48, 3)
    assert bundle.train.names == small.train.names
    assert bundle.summary.fingerprint != small.summary.fingerprint
    means = bundle.train.images.mean((1, 2, 3)), small.train.images.mean((1, 2, 3))
    assert np.abs(means[0] - means[1]).max() < 3
