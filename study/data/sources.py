"""Where a study's images come from: one function per data source, their registry, and the cache before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import PIL

from study.config.study_config import DataSpec
from study.data import synthetic_faces as faces
from study.data.cache import cache_key, load_entry, load_set, map_images, save_entry
from study.data.class_names import case_notices, require_class_number, require_known_keys, require_shifted_names
from study.data.dataset import SPLITS, DataBundle, ImageSet, make_bundle
from study.data.decode import DECODER_VERSION
from study.data.framing import Framing, read_framing
from study.data.image_files import unread
from study.data.image_folder import FolderPlan, plan_folder, plan_shifted
from study.data.parallel_decode import read_plan
from study.data.splits import split_sizes
from study.data.synthetic_faces.vocabulary import KINDS, label_of, shifted_count
from study.errors import DataError
from study.files import expand_home
from study.paths import cache_dir
from study.records import SHIFTED_SET_PREFIX

StageProgress = Callable[[str, int, int], None]
Images = tuple[dict[str, ImageSet], tuple[str, ...], tuple[str, ...]]
"""Sets by name, "relative/path: reason" of every unreadable file, and notices."""
ReadImages = Callable[[int | None, StageProgress | None], Images]


@dataclass(frozen=True)
class DataPlan:
    """What a source will deliver, known before any image is rendered or decoded.

    ``sizes`` has the number of images by set ("train", "val", perhaps "test", "shifted/<name>"); ``key`` is everything
    the decoded images depend on. ``read`` takes the number of workers and a callback for progress. ``notices`` say what
    is not read; ``framing`` how faces lie in the pictures, where that is known.
    """

    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    key: tuple[object, ...]
    read: ReadImages
    notices: tuple[str, ...] = ()
    framing: Framing | None = None


def plan_data(spec: DataSpec) -> DataPlan:
    """Plan the images of a study; opens no picture.

    Raises:
        DataError: the images cannot be found or split.
    """
    return SOURCES[spec.source](spec)


def faces_source(spec: DataSpec) -> DataPlan:
    """Plan rendered faces, with the user's own shifted sets beside the built-in ones."""
    classes = face_classes(spec)
    require_shifted_names(spec.shifted, faces.SHIFTED_SETS)
    shifted = plan_shifted(spec, class_of_kind(spec), classes)
    sizes = {_set_name(split): size for split, size in face_counts(spec).items()}
    key = face_key(spec)
    if shifted is not None:
        sizes |= {name: len(files) for name, files in shifted.sets.items()}
        key = (*key, *_folder_key(shifted, spec))

    def read(workers: int | None, on_progress: StageProgress | None) -> Images:
        sets = _render_faces(spec, classes, workers, on_progress)
        if shifted is None:
            return sets, (), ()
        shifted_sets, skipped, notices = _read_folder(shifted, spec, workers, on_progress)
        return sets | shifted_sets, skipped, notices

    notices = () if shifted is None else _plan_notices(shifted)
    return DataPlan(classes, sizes, key, read, notices, Framing(masks="drawn"))


def folder_source(spec: DataSpec) -> DataPlan:
    """Plan a folder of pictures, ``data.path``."""
    if spec.path is None:
        raise DataError("data.source folder needs data.path, the folder with the pictures, but got none")
    plan = plan_folder(spec)
    sizes = {name: len(files) for name, files in plan.sets.items()}
    return DataPlan(
        plan.classes,
        sizes,
        _folder_key(plan, spec),
        lambda workers, progress: _read_folder(plan, spec, workers, progress),
        _plan_notices(plan),
        read_framing(plan.root),
    )


# A new source is a function above, a line here, and its name and keys in Source and SOURCE_KEYS of study_config.py.
SOURCES: Mapping[str, Callable[[DataSpec], DataPlan]] = {"faces": faces_source, "folder": folder_source}


def face_counts(spec: DataSpec) -> dict[str, int]:
    """Return how many faces each split gets: ``count`` divided by ``fractions``, and each built-in shifted set."""
    sizes = zip(SPLITS, split_sizes(spec.count, spec.fractions), strict=True)
    return {name: size for name, size in sizes if size} | dict.fromkeys(faces.SHIFTED_SETS, shifted_count(spec.count))


def class_of_kind(spec: DataSpec) -> dict[str, str]:
    """Return the class of each kind of face: from ``classes``, else whether the mask is worn properly."""
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
    """Return everything the faces depend on; OpenCV's version because it draws edges differently."""
    drawn = spec.seed, tuple(face_counts(spec).items()), spec.image_size_px, faces.RENDERER_VERSION, cv2.__version__
    return *drawn, tuple(sorted(class_of_kind(spec).items()))


def _render_faces(
    spec: DataSpec, classes: tuple[str, ...], workers: int | None, on_progress: StageProgress | None
) -> dict[str, ImageSet]:
    """Render the faces; an image is called "<set>/<number>_<kind>", its label follows from the kind."""
    progress = _stage("rendering", on_progress)
    rendered = faces.render_splits(
        spec.seed, face_counts(spec), spec.image_size_px, workers=workers, on_progress=progress
    )
    label = {kind: classes.index(name) for kind, name in class_of_kind(spec).items()}
    sets = {}
    for split, images in rendered.items():
        name = _set_name(split)
        names = tuple(f"{name}/{number:05d}_{kind}" for number, kind in enumerate(images.kinds))
        labels = np.array([label[kind] for kind in images.kinds], np.int64)
        sets[name] = ImageSet(images.images, labels, names)
    return sets


def _set_name(split: str) -> str:
    return SHIFTED_SET_PREFIX + split if split in faces.SHIFTED_SETS else split


def _read_folder(plan: FolderPlan, spec: DataSpec, workers: int | None, on_progress: StageProgress | None) -> Images:
    progress = _stage("decoding", on_progress)
    return read_plan(plan, spec.image_size_px, resize=spec.resize, workers=workers, on_progress=progress)


def _plan_notices(plan: FolderPlan) -> tuple[str, ...]:
    """Say which files a run leaves aside, and which classes may be one."""
    files = [f"files not read: {unread(plan.ignored)}"] if plan.ignored else []
    return (*plan.notices, *files, *case_notices(plan.classes))


def _folder_key(plan: FolderPlan, spec: DataSpec) -> tuple[object, ...]:
    files = sorted(
        (name, labelled.label, labelled.file.name, labelled.file.size_bytes, labelled.file.mtime_ns)
        for name, files in plan.sets.items()
        for labelled in files
    )
    shifted = sorted((name, str(expand_home(path).resolve())) for name, path in spec.shifted.items())
    splits = spec.fractions, spec.seed, spec.stratify, spec.group_by, sorted(spec.classes.items())
    code = (DECODER_VERSION, PIL.__version__)
    return str(plan.root.resolve()), files, spec.image_size_px, spec.resize, splits, shifted, code


def _stage(name: str, on_progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress(name, done, total)


def load_data(spec: DataSpec, *, workers: int | None = None, on_progress: StageProgress | None = None) -> DataBundle:
    """Return the images a study runs on; the same data gives the same bundle, whatever the number of workers.

    Args:
        spec: which data.
        workers: processes or threads for rendering or decoding; None means one per available core.
        on_progress: called with (stage, images done, images in all); never called when the cache has the data.

    Raises:
        DataError: the images cannot be found, read or split.
    """
    plan = plan_data(spec)
    entry = cache_entry(spec, plan)
    if (bundle := load_entry(entry)) is None:
        sets, skipped, notices = plan.read(workers, on_progress)
        bundle = make_bundle(spec.source, spec.image_size_px, plan.classes, sets, skipped=skipped, notices=notices)
        save_entry(entry, bundle)
        bundle = map_images(entry, bundle)
    return replace(bundle, notices=(*plan.notices, *bundle.notices), framing=plan.framing)


def cache_entry(spec: DataSpec, plan: DataPlan) -> Path:
    """Return where the cache keeps a study's images, whether or not they are there."""
    return cache_dir() / "data" / cache_key(spec.source, *plan.key)


def cached_set(spec: DataSpec, name: str, fingerprint: str) -> ImageSet | None:
    """Return a set of a study's images from the cache, None where it does not have them as they were.

    Opens no picture and renders none.

    Args:
        spec: which data.
        name: "train", "val", "test" or "shifted/<name>".
        fingerprint: of the data that the study ran on.

    Raises:
        DataError: the images cannot be found or split.
    """
    return load_set(cache_entry(spec, plan_data(spec)), name, fingerprint)
