"""Bring a checkpoint that lies in a storage to this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path
from uuid import uuid4

from study.layout import CARD, SCORES, WEIGHTS, cache_dir, is_uri
from study.places import open_remote


def fetch(checkpoint: str) -> Path:
    """Return a selected checkpoint as a folder of this machine, copied there if need be.

    Raises:
        StorageError: it cannot be read.
    """
    if not is_uri(checkpoint):
        return Path(checkpoint)
    place = open_remote(checkpoint)
    folder = cache_dir() / "checkpoints" / hashlib.sha256(checkpoint.encode()).hexdigest()[:32]
    fresh = folder / f"new-{uuid4().hex}-{CARD}"  # another process may fetch it too
    place.download(CARD, fresh)
    if not (folder / CARD).exists() or (folder / CARD).read_bytes() != fresh.read_bytes():
        for name in (CARD, SCORES, WEIGHTS):
            (folder / name).unlink(missing_ok=True)
    there = place.files()
    for name in (SCORES, WEIGHTS):
        if name not in there:
            (folder / name).unlink(missing_ok=True)
        elif not (folder / name).exists():
            place.download(name, folder / name)
    fresh.replace(folder / CARD)
    return folder
