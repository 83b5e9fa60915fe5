"""Keep decoded images on disk, so that the next study on the same data starts at once."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.dataset import DataBundle, ImageSet, all_sets, make_bundle
from study.errors import DataError
from study.files import write_atomic, write_text_atomic
from study.records import SHIFTED_SET_PREFIX

_log = logging.getLogger(__name__)

CACHE_FORM = 1
MANIFEST = "manifest.json"
STALE_AFTER_S = 24 * 3600
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, AssertionError, DataError)


def cache_key(source: str, *parts: object) -> str:
    """Name a cache entry after everything its contents depend on; parts must have a stable text form."""
    digest = hashlib.sha256(repr((CACHE_FORM, *parts)).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{source}-{digest[:32]}"


def load_entry(entry: Path) -> DataBundle | None:
    """Return the bundle kept in ``entry``, its images mapped from disk; None if there is none or it is damaged.

    Every byte is compared with the fingerprint taken when the entry was written.
    """
    if not entry.is_dir():
        return None
    try:
        return _read(entry)
    except DAMAGE as exc:
        _log.warning("cache entry %s is damaged and is built again: %s", entry, exc)
        return None


def load_set(entry: Path, name: str, fingerprint: str) -> ImageSet | None:
    """Return one set of a bundle kept in ``entry``, its images mapped from disk and not compared byte by byte.

    None where there is no such set, it is damaged, or the bundle has another fingerprint.
    """
    try:
        signed = json.loads((entry / MANIFEST).read_text("utf-8"))
        manifest: dict[str, Any] = signed["manifest"]
        if signed["sha256"] != _checksum(manifest) or manifest["fingerprint"] != fingerprint:
            return None
        return _read_set(entry, list(manifest["names"]).index(name), manifest["names"][name])
    except DAMAGE:
        return None


def save_entry(entry: Path, bundle: DataBundle) -> None:
    """Write an entry as a whole folder, in place of a damaged one; if another writer was faster, keep its entry.

    A cache that cannot be written costs time, not the study: that is logged.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(entry.parent)
        staging = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}.", suffix=".part"))
        try:
            _write(staging, bundle)
            _publish(staging, entry)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as exc:
        _log.warning("the images could not be cached in %s, the next study reads them again: %s", entry, exc)


def map_images(entry: Path, bundle: DataBundle) -> DataBundle:
    """Return a bundle just saved with its images mapped from the entry, so that this process need not hold them.

    The bundle itself where the entry does not have them.
    """
    try:
        names = all_sets(bundle)
        sets = {name: _read_set(entry, at, list(images.names)) for at, (name, images) in enumerate(names.items())}
    except DAMAGE:
        return bundle
    if any(not np.array_equal(sets[name].images, images.images) for name, images in names.items()):
        return bundle
    shifted = {name: sets[SHIFTED_SET_PREFIX + name] for name in bundle.shifted}
    return replace(bundle, train=sets["train"], val=sets["val"], test=sets.get("test", bundle.test), shifted=shifted)


def release_pages(bundle: DataBundle) -> None:
    """Free the memory of images that are mapped from disk; they are read again when they are used."""
    for images in all_sets(bundle).values():
        base: object = images.images
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def _read(entry: Path) -> DataBundle:
    signed = json.loads((entry / MANIFEST).read_text("utf-8"))
    manifest: dict[str, Any] = signed["manifest"]
    if signed["sha256"] != _checksum(manifest):
        raise ValueError(f"{MANIFEST} does not fit its checksum")
    sets = {name: _read_set(entry, at, names) for at, (name, names) in enumerate(manifest["names"].items())}
    bundle = make_bundle(
        manifest["source"],
        manifest["image_size_px"],
        tuple(manifest["classes"]),
        sets,
        skipped=tuple(manifest["skipped"]),
        notices=tuple(manifest.get("notices", ())),
    )
    if bundle.summary.fingerprint != manifest["fingerprint"]:
        raise ValueError("the images do not fit their fingerprint")
    return bundle


def _read_set(entry: Path, at: int, names: list[str]) -> ImageSet:
    images = np.load(entry / f"{at}.images.npy", mmap_mode="r")
    return ImageSet(np.asarray(images), np.load(entry / f"{at}.labels.npy"), tuple(names))


def _write(folder: Path, bundle: DataBundle) -> None:
    sets = all_sets(bundle)
    for number, images in enumerate(sets.values()):
        _write_array(folder / f"{number}.images.npy", images.images)
        _write_array(folder / f"{number}.labels.npy", images.labels)
    manifest = {
        "source": bundle.summary.source,
        "image_size_px": bundle.summary.image_size_px,
        "classes": list(bundle.classes),
        "names": {name: list(images.names) for name, images in sets.items()},
        "skipped": list(bundle.summary.skipped),
        "notices": list(bundle.notices),
        "fingerprint": bundle.summary.fingerprint,
    }
    write_text_atomic(folder / MANIFEST, json.dumps({"sha256": _checksum(manifest), "manifest": manifest}))


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    # The fingerprint finds what a power cut leaves half written, so this need not wait for the disk.
    write_atomic(path, lambda file: np.save(file, array), sync=False)


def _checksum(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _publish(staging: Path, entry: Path) -> None:
    """Rename into place; renaming onto a folder with files fails, which is how a faster writer shows."""
    try:
        os.rename(staging, entry)
        return
    except OSError:
        if not entry.is_dir():
            raise
    if _is_intact(entry):
        return
    aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}.", suffix=".part"))
    try:
        os.rename(entry, aside)
        os.rename(staging, entry)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_intact(entry: Path) -> bool:
    try:
        _read(entry)
    except DAMAGE:
        return False
    return True


def _remove_stale(folder: Path) -> None:
    """Remove what killed writers left behind."""
    for part in folder.glob(".*.part"):
        try:
            if time.time() - part.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(part, ignore_errors=True)
        except FileNotFoundError:
            continue
