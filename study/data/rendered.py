"""Have the built-in faces drawn as the sets of a study."""

from __future__ import annotations

from collections.abc import Callable

import cv2

from study.data import faces
from study.data.bundle import SHIFTED_PREFIX, SPLITS, ImageSet
from study.data.splits import split_sizes
from study.spec import DataSpec

MIN_SHIFTED = 40
SHIFTED_SHARE = 0.1

Progress = Callable[[int, int], None]


def face_counts(spec: DataSpec) -> dict[str, int]:
    """Return how many faces each set gets: ``count`` divided by ``fractions``, and each shifted set besides."""
    sizes = zip(SPLITS, split_sizes(spec.count, spec.fractions), strict=True)
    shifted = max(MIN_SHIFTED, round(SHIFTED_SHARE * spec.count))
    return {name: size for name, size in sizes if size} | dict.fromkeys(faces.SHIFTED_SETS, shifted)


def face_key(spec: DataSpec) -> tuple[object, ...]:
    """Return everything the pixels depend on; OpenCV's version because it draws edges differently."""
    return spec.seed, tuple(face_counts(spec).items()), spec.image_size_px, faces.RENDERER_VERSION, cv2.__version__


def render_sets(
    spec: DataSpec, *, workers: int | None = None, on_progress: Progress | None = None
) -> tuple[tuple[str, ...], dict[str, ImageSet]]:
    """Render the faces.

    Returns:
        The class names and the sets by name; an image is called "<set>/<number>_<kind>".
    """
    rendered = faces.render_splits(
        spec.seed, face_counts(spec), spec.image_size_px, workers=workers, on_progress=on_progress
    )
    sets = {}
    for split, one in rendered.items():
        name = SHIFTED_PREFIX + split if split in faces.SHIFTED_SETS else split
        names = tuple(f"{name}/{at:05d}_{kind}" for at, kind in enumerate(one.kinds))
        sets[name] = ImageSet(one.images, one.labels, names)
    return tuple(faces.CLASSES), sets
