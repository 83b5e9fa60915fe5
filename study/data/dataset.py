"""A study's images as arrays, with the fingerprint that identifies them; no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from study.data.framing import Framing
from study.errors import DataError
from study.records import SHIFTED_SET_PREFIX, DataSummary

SPLITS = ("train", "val", "test")
FINGERPRINT_FORM = b"study-data-1"


@dataclass(frozen=True)
class ImageSet:
    """The images of one split; the arrays are read-only.

    ``images`` is uint8 RGB [N, S, S, 3], ``labels`` int64 [N], ``names`` has one entry per image: its path
    relative to the data folder, or what the generator calls it.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.images.dtype == np.uint8
        assert self.labels.dtype == np.int64
        assert self.images.ndim == 4
        assert self.images.shape[1:] == (self.images.shape[1], self.images.shape[1], 3)
        assert len(self.images) == len(self.labels) == len(self.names)
        self.images.setflags(write=False)
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class DataBundle:
    """Everything a study trains and is evaluated on; ``test`` is empty where a study has none.

    ``notices`` say what a person should know of the images; ``framing`` is how faces lie in them, where that is known.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    shifted: dict[str, ImageSet]
    classes: tuple[str, ...]
    summary: DataSummary
    notices: tuple[str, ...] = ()
    framing: Framing | None = None


def empty_set(image_size_px: int) -> ImageSet:
    """Return a set without images."""
    images = np.empty((0, image_size_px, image_size_px, 3), np.uint8)
    return ImageSet(images, np.empty(0, np.int64), ())


def make_bundle(
    source: str,
    image_size_px: int,
    classes: tuple[str, ...],
    sets: Mapping[str, ImageSet],
    *,
    skipped: tuple[str, ...] = (),
    notices: tuple[str, ...] = (),
) -> DataBundle:
    """Put the sets of a study together and summarise them.

    Args:
        source: a data source, as in ``DataSpec.source``.
        image_size_px: side of every image.
        classes: name of each label.
        sets: by "train", "val", perhaps "test", and "shifted/<name>".
        skipped: "relative/path: reason" of every unreadable file.
        notices: what a person should know of the images.

    Raises:
        DataError: train, val or test lacks a class, or a shifted set has no image at all.
    """
    shifted_sizes = {name: len(images) for name, images in sets.items() if name.startswith(SHIFTED_SET_PREFIX)}
    require_images(shifted_sizes)
    require_classes(
        {name: _count_classes(images, classes) for name, images in sets.items() if name not in shifted_sizes}
    )
    sets = {"test": empty_set(image_size_px), **sets}
    ordered = {name: sets[name] for name in (*SPLITS, *sorted(set(sets) - set(SPLITS)))}
    summary = DataSummary(
        source=source,
        fingerprint=fingerprint(ordered, classes),
        image_size_px=image_size_px,
        classes=classes,
        sizes={name: len(images) for name, images in ordered.items()},
        class_counts={name: _count_classes(images, classes) for name, images in ordered.items()},
        skipped=skipped,
    )
    shifted = {
        name.removeprefix(SHIFTED_SET_PREFIX): images
        for name, images in ordered.items()
        if name.startswith(SHIFTED_SET_PREFIX)
    }
    return DataBundle(ordered["train"], ordered["val"], ordered["test"], shifted, classes, summary, notices)


def all_sets(bundle: DataBundle) -> dict[str, ImageSet]:
    """Return the sets of a bundle by the names the summary uses, without an empty test set."""
    test = {"test": bundle.test} if len(bundle.test) else {}
    shifted = {SHIFTED_SET_PREFIX + name: images for name, images in bundle.shifted.items()}
    return {"train": bundle.train, "val": bundle.val, **test, **shifted}


def fingerprint(sets: Mapping[str, ImageSet], classes: tuple[str, ...]) -> str:
    """Hash the content of the images, not their place or order.

    Covers the pixels, labels, sizes, names of the sets and names of the classes; a set counts as a multiset, so file
    names, times, the order on disk and the number of workers do not matter.

    Returns:
        64 hexadecimal digits of SHA-256.
    """
    total = hashlib.sha256(FINGERPRINT_FORM)
    total.update(_framed(*(name.encode("utf-8", "surrogatepass") for name in classes)))
    for name in sorted(sets):
        images = sets[name]
        shape = ",".join(map(str, images.images.shape))
        total.update(_framed(name.encode("utf-8", "surrogatepass"), shape.encode(), *sorted(_image_digests(images))))
    return total.hexdigest()


def require_classes(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Check that every set has an image of every class.

    Args:
        counts: [set][class] -> number of images.

    Raises:
        DataError: names every set and class that lack images.
    """
    classes = sorted({name for of_set in counts.values() for name in of_set})
    faults = [
        f"{split} has no image of class {name!r}" for split in counts for name in _lacking(counts[split], classes)
    ]
    if faults:
        raise DataError(
            f"every split must have images of the same classes, but {'; '.join(faults)}; "
            f"classes found: {', '.join(classes)}. Add images, or rename or remove the folders that differ"
        )


def require_images(sizes: Mapping[str, int]) -> None:
    """Check that every set has an image; shifted sets may lack a class, but not all.

    Raises:
        DataError: names the empty sets.
    """
    if empty := [name for name, size in sizes.items() if not size]:
        raise DataError(
            f"a shifted set must have at least one picture in a class folder, but {', '.join(empty)} has none; "
            "add pictures as <class>/* or remove the set"
        )


def _lacking(counts: Mapping[str, int], classes: list[str]) -> list[str]:
    return [name for name in classes if not counts.get(name)]


def _count_classes(images: ImageSet, classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(images.labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _image_digests(images: ImageSet) -> list[bytes]:
    return [
        hashlib.sha256(int(label).to_bytes(8, "big") + pixels.tobytes()).digest()
        for pixels, label in zip(images.images, images.labels, strict=True)
    ]


def _framed(*parts: bytes) -> bytes:
    """Join parts with their lengths, so that no two lists of parts give the same bytes."""
    return b"".join([len(parts).to_bytes(8, "big"), *(len(part).to_bytes(8, "big") + part for part in parts)])
