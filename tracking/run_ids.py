"""What is kept in a study's folder for each server; among it the MLflow run ids of its trials (runs.json)."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from study.errors import TrackingError
from study.files import open_inside, read_inside, write_text_atomic
from study.paths import Layout, StudyLayout
from study.utils.named_places import is_named_place, remember_place
from tracking.moved_database import is_own, stored_uri, uri_here
from tracking.tracking_uri import MASK, default_tracking_uri, mask_uri, own_tracking_uri, sqlite_path

Entry = TypeVar("Entry")
_HEAD_BYTES = 65_536
_NAME = re.compile(rb'"study_name": ?("(?:[^"\\]|\\.)*")')
_STUDY_ID = re.compile(rb'"study_id": ?"([0-9a-f]+)"')


def read_entries(path: Path, kind: TypeAdapter[Entry]) -> list[Entry]:
    """Return what a file has of each server, the last used first; nothing where it cannot be read."""
    try:
        body = json.loads(read_inside(path, path.parent))
        entries = (body, *body.pop("elsewhere", []))
        study = StudyLayout(path.parent)
        return [
            kind.validate_python({**entry, "tracking_uri": uri_here(study, entry["tracking_uri"])}) for entry in entries
        ]
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return []


def write_entries(path: Path, kind: TypeAdapter[Entry], first: Entry, others: Iterable[Entry]) -> None:
    """Write what there is of each server, the last used first, whole or not at all."""
    study = StudyLayout(path.parent)
    bodies = [kind.dump_python(entry, mode="json") for entry in (first, *others)]
    body, *rest = ({**entry, "tracking_uri": stored_uri(study, entry["tracking_uri"])} for entry in bodies)
    write_text_atomic(path, json.dumps({**body, "elsewhere": rest} if rest else body, indent=1))


@dataclass(frozen=True)
class Runs:
    """The run ids of one study on one server; the URI has no secrets in it."""

    tracking_uri: str
    experiment_id: str | None = None
    parent: str | None = None
    trials: Mapping[int, str] = field(default_factory=dict)


_RUNS = TypeAdapter(Runs)


def load_runs(path: Path) -> Runs | None:
    """Return the run ids on the server the study was sent to last, None when there are none."""
    return next(iter(read_entries(path, _RUNS)), None)


def load_runs_at(path: Path, tracking_uri: str) -> Runs:
    """Return the run ids on one of the servers the study was sent to; none for another server."""
    return next((runs for runs in read_entries(path, _RUNS) if runs.tracking_uri == tracking_uri), Runs(tracking_uri))


def save_runs(path: Path, runs: Runs) -> None:
    """Write the run ids atomically; those on other servers are kept after them."""
    known = read_entries(path, _RUNS)
    write_entries(
        path, _RUNS, runs, (other for other in known if other.tracking_uri != runs.tracking_uri and other.parent)
    )


def point_to(path: Path, tracking_uri: str) -> None:
    """Make a server (its URI without secrets) the one the study belongs to, even before anything was sent to it.

    Raises:
        TrackingError: the disk refuses.
    """
    current, study = load_runs(path), StudyLayout(path.parent)
    if not is_own(study, tracking_uri):
        remember_place(study.results, tracking_uri)
    if current is None or current.tracking_uri != tracking_uri or _stored(path) != stored_uri(study, tracking_uri):
        try:
            save_runs(path, load_runs_at(path, tracking_uri))
        except OSError as exc:
            raise TrackingError(f"{path} must be writable, but: {exc.strerror or exc}") from exc


def _stored(path: Path) -> str:
    """Return the first URI as it is in the file: earlier versions stored the absolute path of a database."""
    return str(json.loads(path.read_text())["tracking_uri"])


def _original(study: StudyLayout) -> str | None:
    """Return the name of the study beside this one of which it is a copy: it began by that name, with the same id."""
    name, study_id = _beginning(study)
    if name is None or name == study.name or study_id is None:
        return None
    return name if _beginning(Layout(study.results).study(name))[1] == study_id else None


def _beginning(study: StudyLayout) -> tuple[str | None, str | None]:
    """Return the name by which a study began and its id, which are in the first lines of its journal."""
    try:
        with open_inside(study.journal, study.results) as file:
            head = file.read(_HEAD_BYTES)
        name, study_id = _NAME.search(head), _STUDY_ID.search(head)
        return name and str(json.loads(name[1])), study_id and study_id[1].decode()
    except (OSError, ValueError):
        return None, None


def tracking_uri_of(study: StudyLayout, explicit: str | None) -> str | None:
    """Return the explicit URI, else that of the server the study's runs are on; None where there is none or it is gone.

    Raises:
        TrackingError: the study is a copy of another one here, or that URI had a password, which is stored nowhere, or
            it is of a server or a database outside the results folder that this user never named for it: the folder
            may be a copy, or somebody else's.
    """
    runs = load_runs(study.runs)
    if explicit or runs is None:
        return explicit
    if (original := _original(study)) is not None:
        raise TrackingError(
            f"{study.name!r} is a copy of {original!r} in the same results folder and would change its runs; move one "
            "of them into another results folder, or give --tracking-uri"
        )
    known, given = runs.tracking_uri, os.environ.get("MLFLOW_TRACKING_URI")
    if given is not None and mask_uri(default_tracking_uri(Layout(study.results), given)) == known:
        return given
    if MASK in known:
        raise TrackingError(f"The study's runs are at {known} and its password is stored nowhere; give --tracking-uri")
    if (database := sqlite_path(known)) is not None and not database.exists():
        return None
    if not is_own(study, known) and not is_named_place(study.results, known):
        raise TrackingError(
            f"MLflow outside the results folder must be named by whoever sends to it, but only the files of "
            f"{study.name!r} name {known}: the folder may be a copy, or somebody else's; if it is meant, give "
            f"--tracking-uri {shlex.quote(known)}, else another, such as "
            f"--tracking-uri {shlex.quote(own_tracking_uri(Layout(study.results)))}"
        )
    return known
