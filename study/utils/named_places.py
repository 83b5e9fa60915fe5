"""The servers, databases and storages that this user named for a results folder, kept in the user's own configuration.

A results folder may come from somebody else, or be a copy: a place outside it that only its own files name is not used.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from study.files import OutsideError, expand_home, write_text_atomic
from study.paths import StudyLayout, is_uri


def _file() -> Path:
    return expand_home(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "ray-study" / "named_places.json"


def remember_place(results: Path, place: str) -> None:
    """Keep that the user named a place, without passwords, for a results folder; without a home nothing is kept."""
    known = _read()
    of_folder = known.setdefault(_key(results), [])
    if place not in of_folder:
        of_folder.append(place)
        with suppress(OSError):
            write_text_atomic(_file(), json.dumps(known, indent=1) + "\n")


def is_named_place(results: Path, place: str) -> bool:
    """Whether the user named a place for the results folder that lies here."""
    return place in _read().get(_key(results), [])


def is_in_named_place(results: Path, place: str) -> bool:
    """Whether a path or URI is in the results folder, links followed, or below a storage that the user named for it."""
    named = _read().get(_key(results), [])
    if is_uri(place):
        path, _, query = place.partition("?")
        roots = [root.partition("?") for root in named if is_uri(root)]
        return ".." not in path.split("/") and any(
            path.startswith(f"{root.rstrip('/')}/") and query == of_root for root, _, of_root in roots
        )
    real = Path(os.path.realpath(place))
    local = [str(results), *(root for root in named if not is_uri(root))]
    return any(real.is_relative_to(os.path.realpath(root)) for root in local)


def checkpoint_folder(layout: StudyLayout, trial: int, checkpoint: str) -> Path:
    """Return the folder where a trial's selected checkpoint can be read on this machine.

    Raises:
        OutsideError: it is neither in the results folder nor in a storage that the user named.
    """
    folder = layout.local_checkpoint(trial, checkpoint)
    if not is_in_named_place(layout.results, str(folder)):
        raise OutsideError(f"a checkpoint must be in {layout.results} or in a storage that you named, but is {folder}")
    return folder


def _key(results: Path) -> str:
    return os.path.realpath(results)


def _read() -> dict[str, list[str]]:
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
        return {str(folder): [str(place) for place in places] for folder, places in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
