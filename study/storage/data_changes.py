"""Whether the data is what a study began on, and which pictures are not; the place of the folder does not matter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from study.files import read_inside, write_text_atomic
from study.paths import StudyLayout
from study.storage.study_attributes import StudyAttributes
from study.utils.text import first_of, printable

if TYPE_CHECKING:
    from study.data.dataset import DataBundle

_LISTED = 10
_GENERATED = "faces"


def note_pictures(layout: StudyLayout, data: DataBundle) -> None:
    """Write a short digest of every picture beside the journal, to name those that change; not of generated ones."""
    if data.summary.source != _GENERATED:
        write_text_atomic(layout.pictures, json.dumps(_digests(data)) + "\n")


def require_same_data(study: StudyAttributes, layout: StudyLayout, data: DataBundle) -> None:
    """Make sure that the data is what a study began on: the same pixels and labels, in whatever folder.

    Raises:
        StudyStorageError: it changed.
    """
    now = data.summary.fingerprint
    study.require_data(now, _changes(layout, data) if study.data.fingerprint != now else "")


def _changes(layout: StudyLayout, data: DataBundle) -> str:
    """Return which pictures are gone, new or changed, the first of them; nothing where they were not noted."""
    try:
        known = json.loads(read_inside(layout.pictures, layout.results))
        before = {(str(name), str(picture)): str(digest) for name, pictures in known.items()
                  for picture, digest in pictures.items()}  # fmt: skip
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    now = {(name, picture): digest for name, pictures in _digests(data).items() for picture, digest in pictures.items()}
    kinds = {
        "gone": [key for key in before if key not in now],
        "new": [key for key in now if key not in before],
        "changed": [key for key in before if key in now and before[key] != now[key]],
    }
    listed = [
        f"{kind}: {printable(picture)} ({printable(name)})"
        for kind, keys in kinds.items()
        for name, picture in sorted(keys)
    ]
    return f" ({first_of(listed, _LISTED)})" if listed else ""


def _digests(data: DataBundle) -> Mapping[str, Mapping[str, str]]:
    from study.data.dataset import all_sets

    return {
        name: {
            picture: hashlib.blake2b(pixels.tobytes(), digest_size=8, key=bytes([int(label) & 0xFF])).hexdigest()
            for picture, pixels, label in zip(images.names, images.images, images.labels, strict=True)
        }
        for name, images in all_sets(data).items()
    }
