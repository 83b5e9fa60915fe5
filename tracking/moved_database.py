"""MLflow's database in a results folder that was moved or copied: its URI, and where its artifacts are now."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from study.errors import TrackingError
from study.files import OutsideError, read_inside, require_inside
from study.paths import STUDIES, StudyLayout
from tracking.tracking_uri import SQLITE, local_path, sqlite_path

_ARTIFACTS = "/mlartifacts/"
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_WAIT_S = 5.0


def is_own(study: StudyLayout, tracking_uri: str) -> bool:
    """Whether a URI is of a sqlite file in the study's results folder, links followed."""
    database = sqlite_path(tracking_uri)
    return database is not None and _is_in_results_folder(study) and database.is_relative_to(study.results.resolve())


def stored_uri(study: StudyLayout, tracking_uri: str) -> str:
    """Return what is stored of a URI: of a file in the results folder its path from there."""
    if not is_own(study, tracking_uri):
        return tracking_uri
    file, mark, query = tracking_uri.removeprefix(SQLITE).partition("?")
    return f"{SQLITE}{Path(file).resolve().relative_to(study.results.resolve())}{mark}{query}"


def uri_here(study: StudyLayout, stored: str) -> str:
    """Return the URI that is meant by a stored one.

    Earlier versions stored absolute paths: one that is not of this folder means a database here if that knows the
    study, because the folder was moved or copied with it.

    Raises:
        ValueError: a path leads out of the results folder.
    """
    if not stored.startswith(SQLITE) or not _is_in_results_folder(study):
        return stored
    file, mark, query = stored.removeprefix(SQLITE).partition("?")
    results = study.results.resolve()
    if file and not file.startswith(("/", ":")):
        if ".." in Path(file).parts:
            raise ValueError(f"a stored database must be in the results folder, but is {file}")
        return f"{SQLITE}{results / file}{mark}{query}"
    here = results / Path(file).name
    is_elsewhere = not Path(file).resolve().is_relative_to(results)
    return f"{SQLITE}{here}{mark}{query}" if is_elsewhere and _knows(here, study) else stored


def _is_in_results_folder(study: StudyLayout) -> bool:
    return study.root.absolute().parent.name == STUDIES


def _knows(database: Path, study: StudyLayout) -> bool:
    """Whether a database has one of the runs that the study noted."""
    try:
        body = json.loads(read_inside(study.runs, study.root))
        parents = [str(entry.get("parent")) for entry in (body, *body.get("elsewhere", []))]
        require_inside(database, study.results)
        if not database.is_file():
            return False
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=_WAIT_S)) as connection:
            marks = ",".join("?" * len(parents))
            return bool(connection.execute(f"SELECT 1 FROM runs WHERE run_uuid IN ({marks})", parents).fetchone())
    except (OSError, ValueError, AttributeError, TypeError, sqlite3.Error):
        return False


def own_database(tracking_uri: str) -> Path | None:
    """Return the sqlite file of a URI that lies in a results folder, None for any other."""
    database = sqlite_path(tracking_uri)
    return database if database is not None and (database.parent / STUDIES).is_dir() else None


def mend_locations(tracking_uri: str) -> None:
    """Take the artifacts of a results folder's own database where they are now that the folder was moved or copied.

    Raises:
        TrackingError: the database cannot be read or written.
    """
    database = own_database(tracking_uri)
    if database is None or not database.exists():
        return
    here = f"{database.parent.as_uri()}{_ARTIFACTS}"
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT_S)) as connection, connection:
            places = [str(place) for (place,) in connection.execute("SELECT artifact_location FROM experiments")]
            before = {f"{place.rpartition(_ARTIFACTS)[0]}{_ARTIFACTS}" for place in places if _is_of_study(place)}
            for old in sorted(before - {here}):
                for table, column in _LOCATIONS:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                        (here, len(old) + 1, len(old), old),
                    )
    except sqlite3.Error as exc:
        raise TrackingError(f"MLflow's database {database} must be readable and writable, but: {exc}") from exc


def _is_of_study(place: str) -> bool:
    folder, _, name = place.rpartition(_ARTIFACTS)
    return folder.startswith("file:///") and name not in ("", "..") and "/" not in name


def artifact_folder(tracking_uri: str, location: str, name: str = "") -> Path | None:
    """Return the local folder of an artifact's location, or a file in it; None where it is not on this machine.

    Raises:
        OutsideError: the database of a results folder names a place outside it, or a link there leads out.
    """
    folder, database = local_path(location), own_database(tracking_uri)
    if database is not None:
        if folder is None:
            raise OutsideError(f"the artifacts of {database} must be in {database.parent}, but it names {location}")
        require_inside((folder / name).parent if name else folder, database.parent)
    return None if folder is None else folder / name


def require_own_artifacts(tracking_uri: str) -> None:
    """Make sure that every run of a results folder's database has its artifacts in that folder.

    Raises:
        TrackingError: one has not: whoever made the folder wants other files shown or written.
    """
    database = own_database(tracking_uri)
    if database is None or not database.exists():
        return
    query = "SELECT DISTINCT artifact_uri FROM runs"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=_WAIT_S)) as connection:
            for (location,) in connection.execute(query):
                artifact_folder(tracking_uri, str(location))
    except OutsideError as exc:
        raise TrackingError(
            f"{exc}; if you want to see it all the same, give --tracking-uri {SQLITE}{database}"
        ) from exc
    except sqlite3.Error as exc:
        raise TrackingError(f"MLflow's database {database} must be readable, but: {exc}") from exc


def relocated(location: str, database: Path | None) -> str:
    """Return an artifact's location as it is after a move, for reading a database that is not to be written."""
    if database is None or _ARTIFACTS not in location or not location.startswith("file:///"):
        return location
    return f"{database.parent.as_uri()}{_ARTIFACTS}{location.partition(_ARTIFACTS)[2]}"
