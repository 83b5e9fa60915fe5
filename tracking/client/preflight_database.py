"""Check with SQL whether a database has the schema of the installed MLflow and can be written."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Collection
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from study.errors import TrackingError, UsageError
from tracking.client.errors import CREDENTIALS, refuse_deleted, refuses_password
from tracking.tracking_uri import SQLITE, mask_text, mask_uri

_WAIT_FOR_OTHERS_S = 1.0
_REVISION = re.compile(r'^(revision|down_revision)\s*=\s*"(\w+)"', re.MULTILINE)
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
_STAGE = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = "


def check_file(path: Path, study: str, *, own: bool) -> None:
    """Check that a sqlite file can be tracked to; if it does not exist, it must be possible to create it.

    Args:
        path: The file.
        study: The experiment of that name must not be deleted.
        own: Whether it is the results folder's own, whose folder is made when need be.

    Raises:
        TrackingError: it cannot.
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
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_FOR_OTHERS_S, isolation_level=None)) as database:
            _check_contents(database, path, study)
    except sqlite3.Error as exc:
        if exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return  # another study writes at this moment
        if exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise _unwritable(path, str(exc)) from exc
        raise TrackingError(
            f"A tracking database must be one of MLflow's in sqlite, but {path} cannot be read: {exc}; name another "
            "with --tracking-uri, or move this one away and `study sync` fills a new one"
        ) from exc


def _check_contents(database: sqlite3.Connection, path: Path, study: str) -> None:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    revision = None
    if "alembic_version" in tables:
        revision = next(iter(database.execute("SELECT version_num FROM alembic_version")), (None,))[0]
    _check_schema(tables, revision, f"{SQLITE}{path}")
    if "experiments" in tables:
        for number, stage in database.execute(f"{_STAGE}?", (study,)):
            refuse_deleted(study, str(number), stage)
    database.execute("BEGIN IMMEDIATE")
    (number,) = database.execute("PRAGMA user_version").fetchone()
    database.execute(f"PRAGMA user_version = {number}")  # writes a page and a journal, a better test than file modes
    database.execute("ROLLBACK")


def check_server(tracking_uri: str, study: str, timeout_s: float) -> str | None:
    """Return why a database's server cannot be used now, None when it can.

    Raises:
        UsageError: the URI is none of a database.
        TrackingError: a driver is missing, the schema is another, the experiment is deleted, or all is read-only.
    """
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    kind = tracking_uri.partition(":")[0].partition("+")[0]
    waits = {} if kind == "mssql" else {"connect_timeout": max(1, round(timeout_s))}
    try:
        engine = sqlalchemy.create_engine(tracking_uri, poolclass=sqlalchemy.NullPool, connect_args=waits)
        with engine.connect() as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
            known = "alembic_version" in tables
            revision = connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version")) if known else None
            _check_schema(tables, revision, tracking_uri)
            if "experiments" in tables:
                for number, stage in connection.execute(sqlalchemy.text(f"{_STAGE}:name"), {"name": study}):
                    refuse_deleted(study, str(number), stage)
            if kind == "postgresql" and connection.scalar(sqlalchemy.text("SHOW transaction_read_only")) == "on":
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
            f"({revision}, not {newest}); make a copy of it, then run `mlflow db upgrade '{shown}'`"
        )
    raise TrackingError(
        f"A tracking database must have the schema of the installed {installed}, but that of {shown} ({revision}) "
        "is unknown to it and so newer; install the MLflow that wrote it, or name another with --tracking-uri"
    )


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
