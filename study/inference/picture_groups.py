"""Which labelled pictures belong together: those of one photograph, or of one person, are no independent evidence."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.data.image_files import ImageFile
from study.data.splits import group_keys
from study.photos.face_files import TABLE
from study.utils.text import printable

_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PictureGroups:
    """Numbers of groups, [pictures], equal where pictures belong together; ``rule`` says which do, for people."""

    ids: NDArray[np.int64]
    rule: str

    @property
    def count(self) -> int:
        """How many groups there are."""
        return len(np.unique(self.ids))


def find_groups(folder: Path, files: Sequence[ImageFile], pattern: str | None = None) -> PictureGroups | None:
    """Return the groups of pictures; None where each stands for itself.

    Args:
        folder: that the names of the pictures are relative to.
        files: the pictures.
        pattern: what pictures of a group have in common in their names, as ``data.group_by``. None takes the photograph
            of each from the table that `study data mask` and `study data crop` write, in the folder or above it.

    Raises:
        DataError: the pattern is no regular expression, or finds no group in a name.
    """
    names = [file.name for file in files]
    if pattern is not None:
        by_name = group_keys(names, pattern, "--group-by")
        keys, rule = [by_name[name] for name in names], f"those that --group-by {printable(pattern)} finds alike"
    else:
        places = [(folder, ""), (folder.absolute().parent, f"{folder.absolute().name}/")]
        for place, prefix in places:
            sources = _sources(place / TABLE)
            keys = [sources.get(printable(prefix + name), f"\0{name}") for name in names]
            if len(set(keys)) < len(names):
                break
        rule = f"those of one photograph, as {TABLE} names it,"
    ids = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    groups = PictureGroups(ids, rule)
    return groups if groups.count < len(names) else None


def _sources(table: Path) -> Mapping[str, str]:
    """Return the photograph of each picture in a table of faces; nothing of what is no such table."""
    try:
        if not table.is_file() or table.stat().st_size > _MOST_BYTES:
            return {}
        with table.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if not {"source", "file"} <= set(rows.fieldnames or ()):
                return {}
            return {row["file"]: row["source"] for row in rows if row["file"] and row["source"]}
    except (OSError, ValueError, csv.Error):
        return {}
