"""Which tracking server is meant, and how its address is shown without secrets; no I/O."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

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


def artifact_location(tracking_uri: str, study: str, layout: Layout | None = None) -> str | None:
    """Return where a new experiment keeps its artifacts; None leaves it to the server.

    Those of a sqlite file lie beside it, those of another database in the results folder: MLflow itself would put them
    into the folder the program happens to run in.
    """
    database, folder = sqlite_path(tracking_uri), None
    if database is not None:
        folder = database.parent / "mlartifacts"
    elif layout is not None and re.match(r"(postgresql|mysql|mssql)[+:]", tracking_uri):
        folder = layout.mlflow_artifacts.resolve()
    return None if folder is None else (folder / encode_name(study)).as_uri()


def sqlite_path(tracking_uri: str) -> Path | None:
    """Return the file of a sqlite URI, None for any other URI and for a database in memory."""
    database = tracking_uri.removeprefix(SQLITE).partition("?")[0]
    if not tracking_uri.startswith(SQLITE) or database in ("", ":memory:"):
        return None
    return Path(database).resolve()


def mask_uri(uri: str) -> str:
    """Return the URI with its password and secret query values replaced by ``***``.

    A password with unquoted ``/``, ``?`` or ``@`` is masked whole, at the price of masking more than it.
    """
    if (found := _userinfo(uri)) is not None and found[1]:
        uri = uri.replace(f":{found[1]}@", f":{MASK}@", 1)
    parts = urlsplit(uri)
    pairs = parse_qsl(parts.query)
    if not any(_is_secret(key) for key, _ in pairs):
        return uri
    shown = [(key, MASK if _is_secret(key) else value) for key, value in pairs]
    return urlunsplit(parts._replace(query=urlencode(shown, safe="*/:")))


def mask_text(text: str, uri: str) -> str:
    """Return a message of somebody else with the secrets of ``uri`` and of MLflow's own variables taken out."""
    password = (_userinfo(uri) or ("", ""))[1]
    query = [value for key, value in parse_qsl(urlsplit(uri).query) if _is_secret(key)]
    for secret in sorted(filter(None, {password, unquote(password), *query, *_own_secrets()}), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def has_secret(uri: str) -> bool:
    """Whether the URI must not be shown as it is."""
    return mask_uri(uri) != uri


def _userinfo(uri: str) -> tuple[str, str] | None:
    """Return user and password, the password with whatever unquoted marks stand in it; None where neither is."""
    _, slashes, rest = uri.partition("://")
    if not slashes or "@" not in rest:
        return None
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host_port = netloc.rpartition("@")[2]
    if "@" not in netloc and (":" not in host_port or host_port.rpartition(":")[2].isdecimal()):
        return None  # what follows the host has the @
    user, _, password = rest.rpartition("@")[0].partition(":")
    if "@" in user or "/" in user:  # a bare user: the colon belongs to something behind it
        return netloc.rpartition("@")[0], ""
    return user, password


def _own_secrets() -> list[str]:
    user, password, token = (os.environ.get(f"MLFLOW_TRACKING_{one}", "") for one in ("USERNAME", "PASSWORD", "TOKEN"))
    basic = base64.standard_b64encode(f"{user}:{password}".encode()).decode()
    return [one for one in (password, token, basic if password else "") if one]


def local_path(uri: str) -> Path | None:
    """Return the folder a file URI or plain path means, None for anything remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        from urllib.request import url2pathname  # brings all of HTTP with it

        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith("/") else None


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)
