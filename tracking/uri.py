"""Which tracking server is meant, and how its address is shown without secrets; no I/O."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit
from urllib.request import url2pathname

from study.errors import TrackingError
from study.layout import Layout, encode_name

MASK = "***"
SQLITE = "sqlite:///"
_SECRET_WORDS = ("password", "passwd", "pwd", "token", "secret", "key")


def default_tracking_uri(layout: Layout, explicit: str | None) -> str:
    """Return the explicit URI, else MLFLOW_TRACKING_URI, else the results folder's own sqlite database."""
    return explicit or os.environ.get("MLFLOW_TRACKING_URI") or own_tracking_uri(layout)


def own_tracking_uri(layout: Layout) -> str:
    """Return the URI of the results folder's own sqlite database.

    Raises:
        TrackingError: the path cannot be written as a database URI.
    """
    path = layout.mlflow_db.resolve()
    if "?" in str(path):
        raise TrackingError(
            f"The results folder of a sqlite tracker must have no '?' in its path, but it is {path.parent}; "
            "use another --results or give --tracking-uri"
        )
    return f"{SQLITE}{path}"


def artifact_location(tracking_uri: str, study: str) -> str | None:
    """Return where a new experiment keeps its artifacts: beside a sqlite file; None leaves it to the server.

    MLflow itself would put those of a sqlite file into the folder the program happens to run in.
    """
    database = sqlite_path(tracking_uri)
    return None if database is None else (database.parent / "mlartifacts" / encode_name(study)).as_uri()


def sqlite_path(tracking_uri: str) -> Path | None:
    """Return the file of a sqlite URI, None for any other URI and for a database in memory."""
    database = tracking_uri.removeprefix(SQLITE).partition("?")[0]
    if not tracking_uri.startswith(SQLITE) or database in ("", ":memory:"):
        return None
    return Path(database).resolve()


def mask_uri(uri: str) -> str:
    """Return the URI with its password and secret query values replaced by ``***``."""
    parts = urlsplit(uri)
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:{MASK}@{host}" if ":" in user else netloc
    query = parts.query
    if any(_is_secret(key) for key, _ in parse_qsl(query)):
        pairs = [(key, MASK if _is_secret(key) else value) for key, value in parse_qsl(query)]
        query = urlencode(pairs, safe="*/:")
    if (netloc, query) == (parts.netloc, parts.query):
        return uri
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def mask_text(text: str, uri: str) -> str:
    """Return a message of somebody else with the secrets of ``uri`` taken out."""
    parts = urlsplit(uri)
    user = parts.netloc.rpartition("@")[0]
    password = user.partition(":")[2]
    secrets = [password, unquote(password), *(value for key, value in parse_qsl(parts.query) if _is_secret(key))]
    for secret in filter(None, secrets):
        text = text.replace(secret, MASK)
    return text


def local_path(uri: str) -> Path | None:
    """Return the folder a file URI or plain path means, None for anything remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith("/") else None


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)
