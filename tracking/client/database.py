"""MLflow's databases: check the schema and the rights, and create one in sqlite atomically."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from study.errors import TrackingError, UsageError
from study.files import sync_folder
from tracking.client.errors import CREDENTIALS, refuse_deleted, refuses_password
from tracking.tracking_uri import SQLITE, is_database, mask_text, mask_uri, quoted_uri, sqlite_path

if TYPE_CHECKING:
    from sqlalchemy import Connection

_CHECK_TIMEOUT_S = 1.0
_OPEN_TIMEOUT_S = 20.0
_REVISION = re.compile(r'^(revision|down_revision)\s*=\s*"(\w+)"', re.MULTILINE)
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def is_missing(tracking_uri: str) -> bool:
    """Whether the URI is of a sqlite file that does not exist yet."""
    path = sqlite_path(tracking_uri)
    return path is not None and not path.exists()


def require_schema(tracking_uri: str, *, to_read: bool = False) -> None:
    """Connect to a database once and check its schema; to be read it must exist. Any other URI is taken.

    MLflow itself would try one that is away for a minute and a half, and upgrade one that lacks tables.

    Raises:
        TrackingError: its schema is another, or there is nothing to read.
        SQLAlchemyError: it cannot be reached.
    """
    if not is_database(tracking_uri) or (is_missing(tracking_uri) and not to_read):
        return
    state = "is not there"
    if not is_missing(tracking_uri):
        with _connected(tracking_uri, _OPEN_TIMEOUT_S) as connection:
            tables = _check_contents(connection, tracking_uri)
            # MLflow's client would make its experiment 0.
            query = "SELECT experiment_id FROM experiments WHERE experiment_id = 0"
            if not to_read or ("experiments" in tables and connection.exec_driver_sql(query).first()):
                return
        state = "has nothing in it"
    raise TrackingError(
        f"A tracking database must exist to be read, but {mask_uri(tracking_uri)} {state}; name another with "
        f"--tracking-uri, or send a study to it: `study sync NAME --tracking-uri {quoted_uri(tracking_uri)}`"
    )


def check_file(path: Path, study: str, *, own: bool) -> None:
    """Check that a sqlite file can be tracked to, or made where it does not exist.

    ``own`` says that it is the results folder's own, whose folder is made when need be.

    Raises:
        TrackingError: it cannot, or the experiment ``study`` is deleted.
    """
    if not path.parent.is_dir():
        if own:
            return
        raise TrackingError(f"A tracking database's folder must exist, but {path.parent} does not; make it first")
    if path.is_dir():
        raise TrackingError(f"A tracking database must be a file, but {path} is a folder; name a file in it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, "its folder is read-only")
    if not path.exists():
        return
    from sqlalchemy.exc import DBAPIError

    try:
        with _connected(f"{SQLITE}{path}", _CHECK_TIMEOUT_S) as connection:
            _check_contents(connection, f"{SQLITE}{path}", study)
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            number = connection.exec_driver_sql("PRAGMA user_version").scalar()
            connection.exec_driver_sql(f"PRAGMA user_version = {number}")  # writes: a better test than file modes
            connection.exec_driver_sql("ROLLBACK")
    except DBAPIError as exc:
        code = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return  # another study writes at this moment
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise _unwritable(path, str(exc.orig)) from exc
        raise TrackingError(
            f"A tracking database must be one of MLflow's in sqlite, but {path} cannot be read: {exc.orig}; name "
            f"another with --tracking-uri, or move this one away and `study sync NAME --tracking-uri "
            f"{quoted_uri(f'{SQLITE}{path}')}` fills a new one"
        ) from exc


def check_server(tracking_uri: str, study: str, timeout_s: float) -> str | None:
    """Return why a database's server cannot be used now, None when it can.

    Raises:
        UsageError: the URI is none of a database.
        TrackingError: a driver is missing, the schema is another, the experiment is deleted, or all is read-only.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    kind = tracking_uri.partition(":")[0].partition("+")[0]
    try:
        with _connected(tracking_uri, timeout_s) as connection:
            _check_contents(connection, tracking_uri, study)
            if kind == "postgresql" and connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
                raise TrackingError(f"A tracking database must be writable, but {mask_uri(tracking_uri)} is read-only")
    except ImportError as exc:
        package = _PACKAGES.get(exc.name or "", exc.name)
        raise TrackingError(
            f"{mask_uri(tracking_uri)} needs a driver that is not installed; `pip install '{package}'`, or name one "
            f"that is, as {kind}+psycopg2://..."
        ) from exc
    except ArgumentError as exc:
        raise UsageError(f"--tracking-uri must be a database's URI: {mask_text(str(exc), tracking_uri)}") from exc
    except SQLAlchemyError as exc:
        return _explain(mask_text(str(getattr(exc, "orig", None) or exc), tracking_uri), tracking_uri)
    return None


@contextmanager
def _connected(tracking_uri: str, timeout_s: float) -> Iterator[Connection]:
    """Connect to a database once; a sqlite file is not made."""
    import sqlalchemy

    uri, arguments = tracking_uri, {}
    if sqlite_path(tracking_uri) is not None:
        uri, arguments = sqlite_uri(tracking_uri, "rw"), {"timeout": timeout_s}
    elif not tracking_uri.startswith("mssql"):
        arguments = {"connect_timeout": max(1, round(timeout_s))}
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, connect_args=arguments)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def sqlite_uri(tracking_uri: str, mode: Literal["ro", "rw"]) -> str:
    """Return the URI by which SQLAlchemy opens a sqlite file to read or write but never makes it."""
    path = sqlite_path(tracking_uri)
    assert path is not None
    # MLflow makes the folder that it finds in a URI, so there must be no slash in this one.
    return f"{SQLITE}file:{quote(os.fsencode(path), safe='')}?mode={mode}&uri=true"


def _check_contents(connection: Connection, tracking_uri: str, study: str | None = None) -> Collection[str]:
    """Check the schema, and that the experiment of a study is not deleted; return the tables."""
    import sqlalchemy

    tables = set(sqlalchemy.inspect(connection).get_table_names())
    revision = None
    if "alembic_version" in tables:
        revision = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
    _check_schema(tables, revision, tracking_uri)
    if study is not None and "experiments" in tables:
        query = sqlalchemy.text("SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = :name")
        for number, stage in connection.execute(query, {"name": study}):
            refuse_deleted(study, str(number), stage, tracking_uri)
    return tables


def _explain(words: str, tracking_uri: str) -> str:
    message = " ".join(words.split())
    if re.search(r"database .* does not exist|Unknown database", words):
        raise TrackingError(f"A tracking database must exist, but {mask_uri(tracking_uri)} does not: {message}")
    return f"it refuses the credentials ({message}); {CREDENTIALS}" if refuses_password(words) else message


def _check_schema(tables: Collection[str], revision: str | None, uri: str) -> None:
    """Check that a database is empty or has the schema of the installed MLflow.

    Raises:
        TrackingError: it has another.
    """
    if revision is None and not set(tables) - {"alembic_version"}:
        return
    shown = mask_uri(uri)
    if revision is None or "experiments" not in tables:
        raise TrackingError(
            f"A tracking database must be MLflow's own, but {shown} has the tables of another program; "
            "name another with --tracking-uri"
        )
    from importlib import metadata

    known, newest = _revisions()
    if revision == newest:
        return
    installed = f"MLflow {metadata.version('mlflow')}"
    if revision in known:
        raise TrackingError(
            f"A tracking database must have the schema of the installed {installed}, but that of {shown} is older "
            f"({revision}, not {newest}); {_upgrade(uri)}"
        )
    raise TrackingError(
        f"A tracking database must have the schema of the installed {installed}, but that of {shown} ({revision}) "
        "is unknown to it and so newer; install the MLflow that wrote it, or name another with --tracking-uri"
    )


def _upgrade(uri: str) -> str:
    """Return how to upgrade a database."""
    command = f"mlflow db upgrade {quoted_uri(uri)}"
    if (path := sqlite_path(uri)) is None:
        return f"make a copy of it, then run `{command}`"
    copy = shlex.join(["cp", str(path), f"{path}.{time.strftime('%Y-%m-%d')}"])
    return f"this keeps a copy and upgrades it: `{copy} && {command}`"


def _revisions() -> tuple[frozenset[str], str | None]:
    """Return the schema revisions of the installed MLflow, and the newest.

    They are read from its migration scripts, which are private: Alembic's public ScriptDirectory would import MLflow.
    """
    spec = find_spec("mlflow")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    known: set[str] = set()
    before: set[str] = set()
    for file in (file for folder in folders for file in (folder / "store/db_migrations/versions").glob("*.py")):
        for field, revision in _REVISION.findall(file.read_text(encoding="utf-8")):
            (known if field == "revision" else before).add(revision)
    return frozenset(known), next(iter(known - before), None)


def _unwritable(path: Path, why: str) -> TrackingError:
    return TrackingError(
        f"A tracking database must be writable, but {path}: {why}; mend its mode or mount, or name another with "
        "--tracking-uri"
    )


def ensure_database(tracking_uri: str, make: Callable[[str], object]) -> None:
    """Create the sqlite file of a URI unless it exists; several processes at once create one.

    ``make`` makes MLflow create its tables in the database of a URI.
    """
    path = sqlite_path(tracking_uri)
    if path is None or path.exists():
        return
    staging = path.with_name(f".{path.name}.part")
    with _locked(path.parent):
        if path.exists():
            return
        for left in path.parent.glob(f"{staging.name}*"):  # and sqlite's own journal beside it
            left.unlink(missing_ok=True)
        make(f"{SQLITE}{staging}")
        staging.replace(path)
        sync_folder(path.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder; the kernel releases that of a killed process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
