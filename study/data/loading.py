"""Get a study's images: from the cache, or rendered or read and then cached."""

from __future__ import annotations

import logging
from collections.abc import Callable

import PIL

from study.data.bundle import DataBundle, make_bundle
from study.data.cache import cache_key, load_entry, save_entry
from study.data.decode import DECODER_VERSION
from study.data.folder import FolderPlan, plan_folder
from study.data.reader import read_plan
from study.data.rendered import face_key, render_sets
from study.errors import DataError
from study.layout import cache_dir
from study.spec import DataSpec

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


def _load_faces(spec: DataSpec, workers: int | None, on_progress: StageProgress | None) -> DataBundle:
    entry = cache_dir() / "data" / cache_key("faces", *face_key(spec))
    if (kept := load_entry(entry)) is not None:
        return kept
    classes, sets = render_sets(spec, workers=workers, on_progress=_stage("rendering", on_progress))
    bundle = make_bundle("faces", spec.image_size_px, classes, sets)
    save_entry(entry, bundle)
    return bundle


def _load_folder(spec: DataSpec, workers: int | None, on_progress: StageProgress | None) -> DataBundle:
    if spec.path is None:
        raise DataError("data.source folder needs data.path, the folder with the pictures, but got none")
    plan = plan_folder(spec.path, spec.fractions, spec.seed)
    entry = cache_dir() / "data" / cache_key("folder", *_folder_key(plan, spec))
    if (kept := load_entry(entry)) is not None:
        return kept
    sets, skipped = read_plan(plan, spec.image_size_px, workers=workers, on_progress=_stage("decoding", on_progress))
    bundle = make_bundle("folder", spec.image_size_px, plan.classes, sets, skipped=skipped)
    save_entry(entry, bundle)
    return bundle


def _folder_key(plan: FolderPlan, spec: DataSpec) -> tuple[object, ...]:
    files = sorted(
        (one.file.name, one.file.size_bytes, one.file.mtime_ns) for files in plan.sets.values() for one in files
    )
    code = (DECODER_VERSION, PIL.__version__)
    return str(plan.root.resolve()), files, spec.image_size_px, spec.fractions, spec.seed, code


def _stage(name: str, on_progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda done, total: on_progress(name, done, total)
