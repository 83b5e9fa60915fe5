"""Find out before any work whether a study can be tracked, without importing MLflow, which takes seconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit

from study.errors import StudyError, UsageError
from study.layout import Layout
from tracking.uri import artifact_location, mask_uri, sqlite_path

PATIENCE_S = 5.0
_DATABASES = ("postgresql", "mysql", "mssql")
_EXAMPLES = "http://host:5000, sqlite:////folder/mlflow.db or postgresql://user@host/database"


def preflight(layout: Layout, tracking_uri: str, study: str, patience_s: float = PATIENCE_S) -> str | None:
    """Return why the server cannot be used now, though later it may; None when it can.

    Args:
        layout: Its own database need not be there yet.
        tracking_uri: An MLflow server or database.
        study: The name of its experiment, which need not be there either.
        patience_s: How long a server has for its answer.

    Raises:
        UsageError: the URI cannot mean a place to track to.
        TrackingError: a person must mend something first: a local file, a schema, a deleted experiment.
    """
    scheme = _scheme(tracking_uri)
    if scheme == "sqlite":
        from tracking.server.preflight_database import check_file

        path = sqlite_path(tracking_uri)
        assert path is not None
        check_file(path, study, own=path == layout.mlflow_db.resolve())
        return None
    if scheme in ("http", "https"):
        from tracking.server.preflight_http import check_http

        return _within(patience_s, lambda: check_http(tracking_uri, study, patience_s))
    if scheme in _DATABASES:
        from tracking.server.preflight_database import check_server

        artifact_location(tracking_uri, study, layout)  # says so if there is no room for it
        return _within(2 * patience_s, lambda: check_server(tracking_uri, study, patience_s))
    return None  # a plugin's own business


def _scheme(uri: str) -> str:
    """Return the scheme without a database's driver.

    Raises:
        UsageError: no such scheme, or not the form of it.
    """
    scheme = re.match(r"[a-z][a-z0-9+.-]*(?=:)|databricks$", uri)
    name = scheme[0].partition("+")[0] if scheme else ""
    if name in ("http", "https"):
        _require(_is_address(uri), uri, "be http://HOST:PORT")
    elif name == "sqlite":
        file = sqlite_path(uri)
        _require(file is not None, uri, "name a file, as sqlite:////folder/mlflow.db (four slashes: an absolute path)")
    elif name in _DATABASES:
        _require(_is_address(uri), uri, f"be {name}://USER:PASSWORD@HOST:PORT/DATABASE")
    elif name in ("", "file") or (name not in _plugins() and not name.startswith("databricks")):
        _require(False, uri, f"be a server or a database, as {_EXAMPLES}")
    return name


def _is_address(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname or parts.path.strip("/")) and "//" in uri and parts.port != 0
    except ValueError:
        return False


def _require(holds: bool, uri: str, law: str) -> None:
    if not holds:
        hint = f"; did you mean http://{uri}?" if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri) else ""
        raise UsageError(f"--tracking-uri (or MLFLOW_TRACKING_URI) must {law}, got `{mask_uri(uri)}`{hint}")


def _plugins() -> set[str]:
    from importlib.metadata import entry_points

    return {one.name for one in entry_points(group="mlflow.tracking_store")}


def _within(limit_s: float, check: Callable[[], str | None]) -> str | None:
    """Return what a check says, or that it took too long: looking up a host's name heeds no timeout."""
    said: list[str | None] = []
    raised: list[StudyError] = []

    def ask() -> None:
        try:
            said.append(check())
        except StudyError as exc:
            raised.append(exc)

    thread = Thread(target=ask, name="tracking-preflight", daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    return said[0] if said else f"no answer within {limit_s:.0f} s"
