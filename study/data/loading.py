"""Load a study's images: from the cache, or from their source and then into the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from study.config.study_config import DataSpec
from study.data.cache import cache_key, load_entry, save_entry
from study.data.dataset import DataBundle, make_bundle
from study.data.sources import DataPlan, StageProgress, plan_data
from study.paths import cache_dir


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
    return replace(bundle, notices=(*plan.notices, *bundle.notices))


def cache_entry(spec: DataSpec, plan: DataPlan) -> Path:
    """Return where the cache keeps a study's images, whether or not they are there."""
    return cache_dir() / "data" / cache_key(spec.source, *plan.key)
