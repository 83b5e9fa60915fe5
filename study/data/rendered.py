"""Have the built-in faces drawn as the sets of a study."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from study.data import faces
from study.data.bundle import SHIFTED_PREFIX, SPLITS, ImageSet
from study.data.class_names import require_class_number, require_known_keys
from study.data.faces.vocabulary import KINDS, label_of
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


def class_of_kind(spec: DataSpec) -> dict[str, str]:
    """Return the class of each kind of face: what ``classes`` says of it, else whether it wears its mask properly."""
    default: dict[str, str] = {kind: faces.CLASSES[label_of(kind)] for kind in KINDS}
    return {**default, **spec.classes}


def face_classes(spec: DataSpec) -> tuple[str, ...]:
    """Return the sorted class names.

    Raises:
        DataError: a key of ``classes`` is no kind of face, or all kinds are of one class.
    """
    require_known_keys(spec.classes, KINDS, "kind of face")
    classes = tuple(sorted(set(class_of_kind(spec).values())))
    require_class_number("data.source faces", classes)
    return classes


def face_key(spec: DataSpec) -> tuple[object, ...]:
    """Return everything the sets depend on; OpenCV's version because it draws edges differently."""
    drawn = spec.seed, tuple(face_counts(spec).items()), spec.image_size_px, faces.RENDERER_VERSION, cv2.__version__
    return *drawn, tuple(sorted(class_of_kind(spec).items()))


def render_sets(
    spec: DataSpec, *, workers: int | None = None, on_progress: Progress | None = None
) -> dict[str, ImageSet]:
    """Render the faces; an image is called "<set>/<number>_<kind>", its label follows from the kind."""
    rendered = faces.render_splits(
        spec.seed, face_counts(spec), spec.image_size_px, workers=workers, on_progress=on_progress
    )
    classes = face_classes(spec)
    label = {kind: classes.index(one) for kind, one in class_of_kind(spec).items()}
    sets = {}
    for split, one in rendered.items():
        name = SHIFTED_PREFIX + split if split in faces.SHIFTED_SETS else split
        names = tuple(f"{name}/{at:05d}_{kind}" for at, kind in enumerate(one.kinds))
        labels = np.array([label[kind] for kind in one.kinds], np.int64)
        sets[name] = ImageSet(one.images, labels, names)
    return sets
