"""A results folder that an earlier version wrote, unpacked anywhere: it has a study, two checkpoints and a database."""

from __future__ import annotations

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parent / "earlier_versions" / "results-0.1.0.tar.xz"
OLD_PLACE = Path("/tmp/study-0.1.0/results")
"""Where it was made: its files name this folder."""
STUDY = "before"


def unpack(into: Path) -> Path:
    """Unpack it and return the results folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(into, filter="data")
    return into / "study-0.1.0" / "results"
