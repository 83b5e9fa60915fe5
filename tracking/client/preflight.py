"""Check before a study starts whether it can be tracked at a URI."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from urllib.parse import urlsplit

import requests

from study.errors import StudyError, TrackingError, UsageError
from study.paths import Layout
from tracking.client.errors import CREDENTIALS, refuse_deleted
from tracking.client.http import API, innermost_reason, open_session, proxy_note
from tracking.tracking_uri import artifact_location, mask_text, mask_uri, server_address, sqlite_path

TIMEOUT_S = 5.0
_DATABASES = ("postgresql", "mysql", "mssql")
_EXAMPLES = "http://host:5000, sqlite:////folder/mlflow.db or postgresql://user@host/database"


def preflight(layout: Layout, tracking_uri: str, study: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return why the server cannot be used now, though later it may; None when it can.

    The experiment ``study`` need not be there yet, nor the results folder's own database.

    Raises:
        UsageError: the URI cannot mean a place to track to.
        TrackingError: a person must mend something first: a local file, a schema, a deleted experiment.
    """
    scheme = _scheme(tracking_uri)
    if scheme == "sqlite":
        from tracking.client.database import check_file

        path = sqlite_path(tracking_uri)
        assert path is not None
        check_file(path, study, own=path == layout.mlflow_db.resolve())
        return None
    if scheme in ("http", "https"):
        fault = _within(timeout_s, lambda: check_http(tracking_uri, study, timeout_s))
        return fault and fault + proxy_note(tracking_uri)
    if scheme in _DATABASES:
        from tracking.client.database import check_server

        artifact_location(tracking_uri, study, layout)  # raises if its URI is too long
        return _within(2 * timeout_s, lambda: check_server(tracking_uri, study, timeout_s))
    return None  # only the plugin can tell


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

    return {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}


def _within(limit_s: float, check: Callable[[], str | None]) -> str | None:
    """Return the result of a check, or that it took too long: the lookup of a host's name has no timeout."""
    results: list[str | None] = []
    raised: list[StudyError] = []

    def run() -> None:
        try:
            results.append(check())
        except StudyError as exc:
            raised.append(exc)

    thread = Thread(target=run, name="tracking-preflight", daemon=True)
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    return results[0] if results else f"no answer within {limit_s:.0f} s"


def check_http(tracking_uri: str, study: str, timeout_s: float) -> str | None:
    """Return why the server cannot be used now, None when it can.

    Raises:
        TrackingError: it is no MLflow server, or has a deleted experiment of the study's name.
    """
    url = f"{server_address(tracking_uri)}{API}experiments/get-by-name"
    try:
        with open_session(tracking_uri, timeout_s) as session:
            response = session.get(url, params={"experiment_name": study})
    except (requests.RequestException, OSError, ValueError) as exc:
        return mask_text(innermost_reason(exc), tracking_uri)
    body = _json(response)
    if not response.ok:
        return _explain(response.status_code, body, tracking_uri)
    experiment = body.get("experiment")
    if not isinstance(experiment, dict):
        raise _not_mlflow(tracking_uri, "with something else than an experiment")
    refuse_deleted(study, str(experiment.get("experiment_id")), str(experiment.get("lifecycle_stage")), tracking_uri)
    return None


def _explain(status: int, body: dict[str, object], tracking_uri: str) -> str | None:
    """Return why a server that answers with an error status cannot be used, None where it can."""
    if body.get("error_code") == "RESOURCE_DOES_NOT_EXIST" or status == 429:
        return None  # the experiment is made later; a busy server is there
    if status in (401, 403):
        return f"it refuses the credentials (HTTP {status}); {CREDENTIALS}"
    if 400 <= status < 500 and status != 408:
        raise _not_mlflow(tracking_uri, f"HTTP {status}")
    return f"it answers HTTP {status}"


def _not_mlflow(tracking_uri: str, answer: str) -> TrackingError:
    return TrackingError(
        f"--tracking-uri must be the address of an MLflow server, but {mask_uri(tracking_uri)} answers {answer} "
        f"where MLflow tells an experiment; look at the host, the port and the path{proxy_note(tracking_uri)}"
    )


def _json(response: requests.Response) -> dict[str, object]:
    """Return the body of an answer, nothing where it is no JSON object."""
    with suppress(ValueError):
        body = response.json()
        return body if isinstance(body, dict) else {}
    return {}
