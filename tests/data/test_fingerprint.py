"""The fingerprint follows what the images are, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from study.data import ImageSet, fingerprint
from study.data.dataset import make_bundle
from study.errors import DataError


def sets(*, pixel: int = 5, label: int = 1, name: str = "train/b/1.png", split: str = "val") -> dict[str, ImageSet]:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    other = images.copy()
    other[1, 2, 3, 0] = pixel
    labels = np.array([0, 1], np.int64)
    return {
        "train": ImageSet(other, np.array([0, label], np.int64), ("train/a/0.png", name)),
        split: ImageSet(images, labels, ("val/a/0.png", "val/b/1.png")),
    }


def test_the_fingerprint_is_of_the_contents() -> None:
    classes = ("a", "b")
    known = fingerprint(sets(), classes)
    assert len(known) == 64
    assert int(known, 16) > 0
    assert fingerprint(sets(), classes) == known
    assert fingerprint(sets(name="train/b/renamed.png"), classes) == known
    assert fingerprint(dict(reversed(sets().items())), classes) == known
    different = [
        fingerprint(sets(pixel=6), classes),
        fingerprint(sets(label=0), classes),
        fingerprint(sets(split="test"), classes),
        fingerprint(sets(), ("a", "c")),
        fingerprint({"train": sets()["train"]}, classes),
    ]
    assert len({known, *different}) == 6


def test_the_fingerprint_forgets_the_order_but_not_the_number() -> None:
    val = sets()["val"]
    turned = ImageSet(val.images[::-1].copy(), val.labels[::-1].copy(), val.names[::-1])
    doubled = ImageSet(val.images[[0, 1, 1]], val.labels[[0, 1, 1]], ("a", "b", "c"))
    known = fingerprint({"val": val}, ("a", "b"))
    assert fingerprint({"val": turned}, ("a", "b")) == known
    assert fingerprint({"val": doubled}, ("a", "b")) != known


def test_a_bundle_lacking_a_class_is_an_error() -> None:
    with pytest.raises(DataError, match="train has no image of class 'b'"):
        make_bundle("faces", 4, ("a", "b"), sets(label=0))
