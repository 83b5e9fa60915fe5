"""Remember in the user's cache what trials were measured to take of a GPU's memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from study.engine.footprints import Need
from study.engine.probe_key import ProbeKey
from study.layout import cache_dir, write_text_atomic

FORMAT = 1
"""Raise it when what a trial runs comes to take another amount of memory."""
_DAMAGE = (OSError, ValueError, TypeError, AttributeError, LookupError)
_log = logging.getLogger(__name__)

Known = Mapping[str, Mapping[ProbeKey, Need]]
"""Needs by ``signature`` and key."""


def signature(gpu: str, torch_version: str) -> str:
    """Name a kind of GPU and the software on it."""
    return f"{gpu}, torch {torch_version}, form {FORMAT}"


def known_needs() -> Known:
    """Return all that is remembered, nothing where the file is missing or damaged."""
    try:
        read = json.loads(_path().read_text(encoding="utf-8"))
        return {
            name: {ProbeKey(*json.loads(key)): Need(*map(int, need)) for key, need in needs.items()}
            for name, needs in read.items()
        }
    except FileNotFoundError:
        return {}
    except _DAMAGE as error:
        _log.warning("%s is damaged, GPU memory is measured again: %s", _path(), error)
        return {}


def remember(gpu: str, torch_version: str, needs: Mapping[ProbeKey, Need]) -> None:
    """Keep what was measured; a cache that cannot be written costs time, not the study: that is logged."""
    known, name = known_needs(), signature(gpu, torch_version)
    if all(known.get(name, {}).get(key) == need for key, need in needs.items()):
        return
    merged = {**known, name: {**known.get(name, {}), **needs}}
    text = json.dumps(
        {name: {json.dumps(key): astuple(need) for key, need in one.items()} for name, one in merged.items()}, indent=1
    )
    try:
        write_text_atomic(_path(), text)
    except OSError as error:
        _log.warning("cannot remember what trials take of a GPU's memory: %s", error)


def _path() -> Path:
    return cache_dir() / "gpu_memory.json"
