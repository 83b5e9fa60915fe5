"""Get a study's images: from the cache, or rendered or read and then cached."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL

from study.config.study_config import DataSpec
from study.data import synthetic_faces as faces
from study.data.cache import cache_key, load_entry, save_entry
from study.data.dataset import SHIFTED_PREFIX, SPLITS, DataBundle, ImageSet, make_bundle
from study.data.decode import DECODER_VERSION
from study.data.image_folder import (
    FolderPlan,
    plan_folder,
    plan_shifted,
    require_class_number,
    require_known_keys,
    require_shifted_names,
)
from study.data.parallel_decode import read_plan
from study.data.splits import split_sizes
from study.data.synthetic_faces import SHIFTED_SETS
from study.data.synthetic_faces.vocabulary import KINDS, label_of
from study.errors import DataError
from study.paths import cache_dir

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


_log = logging.getLogger(__name__)

StageProgress = Callable[[str, int, int], None]


def load_data(spec: DataSpec, *, workers: int | None = None, on_progress: StageProgress | None = None) -> DataBundle:
    """Return the images a study runs on; the same data gives the same bundle, whatever the number of workers.

    Args:
        spec: what data.
        workers: processes or threads for rendering or decoding; None means one per available core.
        on_progress: called with (what is done, images done, images in all); never called when the cache has the data.

    Raises:
        DataError: the images cannot be found, read or split.
    """
    return (
        _load_faces(spec, workers, on_progress) if spec.source == "faces" else _load_folder(spec, workers, on_progress)
    )


def cache_entry(spec: DataSpec) -> Path:
    """Return where the cache has a study's images, whether or not they are there; opens no picture.

    Raises:
        DataError: the images cannot be found or split.
    """
    if spec.source == "faces":
        return _faces_entry(spec, plan_shifted(spec, class_of_kind(spec), face_classes(spec)))
    return _folder_entry(spec, plan_folder(spec))


def _faces_entry(spec: DataSpec, shifted: FolderPlan | None) -> Path:
    key = (*face_key(spec), *(() if shifted is None else _folder_key(shifted, spec)))
    return cache_dir() / "data" / cache_key("faces", *key)


def _folder_entry(spec: DataSpec, plan: FolderPlan) -> Path:
    return cache_dir() / "data" / cache_key("folder", *_folder_key(plan, spec))


def _load_faces(spec: DataSpec, workers: int | None, on_progress: StageProgress | None) -> DataBundle:
    classes = face_classes(spec)
    require_shifted_names(spec.shifted, SHIFTED_SETS)
    plan = plan_shifted(spec, class_of_kind(spec), classes)
    entry = _faces_entry(spec, plan)
    if (kept := load_entry(entry)) is not None:
        return kept
    sets = render_sets(spec, workers=workers, on_progress=_stage("rendering", on_progress))
    skipped: tuple[str, ...] = ()
    if plan is not None:
        more, skipped = _read(plan, spec, workers, on_progress)
        sets |= more
    bundle = make_bundle("faces", spec.image_size_px, classes, sets, skipped=skipped)
    save_entry(entry, bundle)
    return bundle


def _load_folder(spec: DataSpec, workers: int | None, on_progress: StageProgress | None) -> DataBundle:
    if spec.path is None:
        raise DataError("data.source folder needs data.path, the folder with the pictures, but got none")
    plan = plan_folder(spec)
    entry = _folder_entry(spec, plan)
    if (kept := load_entry(entry)) is not None:
        return kept
    sets, skipped = _read(plan, spec, workers, on_progress)
    bundle = make_bundle("folder", spec.image_size_px, plan.classes, sets, skipped=skipped)
    save_entry(entry, bundle)
    return bundle


def _read(
    plan: FolderPlan, spec: DataSpec, workers: int | None, on_progress: StageProgress | None
) -> tuple[dict[str, ImageSet], tuple[str, ...]]:
    stage = _stage("decoding", on_progress)
    return read_plan(plan, spec.image_size_px, resize=spec.resize, workers=workers, on_progress=stage)


def _folder_key(plan: FolderPlan, spec: DataSpec) -> tuple[object, ...]:
    files = sorted(
        (name, one.label, one.file.name, one.file.size_bytes, one.file.mtime_ns)
        for name, files in plan.sets.items()
        for one in files
    )
    shifted = sorted((name, str(Path(path).expanduser().resolve())) for name, path in spec.shifted.items())
    splits = spec.fractions, spec.seed, spec.stratify, spec.group_by, sorted(spec.classes.items())
    code = (DECODER_VERSION, PIL.__version__)
    return str(plan.root.resolve()), files, spec.image_size_px, spec.resize, splits, shifted, code


def _stage(name: str, on_progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress(name, done, total)
