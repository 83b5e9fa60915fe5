"""Choose the tracking URI, take it apart, and mask the secrets in it; no I/O."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shlex
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from study.errors import TrackingError, UsageError
from study.files import expand_home
from study.paths import Layout, encode_name

MASK = "***"
SQLITE = "sqlite:///"
_MAX_LOCATION_CHARACTERS = 200 - len(f"/{'0' * 32}/artifacts")
_SQLALCHEMY_USERINFO = re.compile(r"[^:/]*:[^@]*@")  # SQLAlchemy takes what looks like a port and a path for a password
_ANY_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/@\s]*@")
_SECRET_WORDS = ("password", "passwd", "pwd", "token", "secret", "key")


def default_tracking_uri(layout: Layout, explicit: str | None) -> str:
    """Return the explicit URI, else MLFLOW_TRACKING_URI, else the results folder's own sqlite database.

    A sqlite file is named by its absolute path, so that it stays the same from another folder.

    Raises:
        UsageError: it is no URI.
    """
    chosen = expand_database(explicit or os.environ.get("MLFLOW_TRACKING_URI") or own_tracking_uri(layout))
    require_uri(chosen)
    if sqlite_path(chosen) is None:
        return chosen
    file, mark, query = chosen.removeprefix(SQLITE).partition("?")
    return f"{SQLITE}{os.path.abspath(file)}{mark}{query}"


def expand_database(uri: str) -> str:
    """Return a URI with ``~`` at the beginning of a sqlite file's path replaced by the home."""
    file = uri.removeprefix(SQLITE)
    return f"{SQLITE}{expand_home(file)}" if uri.startswith(SQLITE) and file.startswith("~") else uri


def require_uri(uri: str) -> None:
    """Check that libraries can parse a tracking URI.

    Raises:
        UsageError: they cannot.
    """
    try:
        parts = urlsplit(uri)
        if not is_server(uri) or (parts.hostname and parts.port != 0):
            return
    except ValueError:  # its message may contain the password
        pass
    example = "http://HOST:5000" if is_server(uri) else "postgresql://USER:PASSWORD@HOST/DATABASE"
    raise UsageError(
        f"a tracking URI must be one such as {example}, got {mask_uri(uri)}; "
        "brackets stand around an IPv6 address only, and in a user or password [ ] / @ are %5B %5D %2F %40"
    )


def own_tracking_uri(layout: Layout) -> str:
    """Return the URI of the results folder's own sqlite database.

    Raises:
        TrackingError: the path cannot be written as a database URI.
    """
    path = layout.mlflow_db.resolve()
    if path.parent != layout.results.resolve():
        raise TrackingError(
            f"the database of a results folder must be in it, but {layout.mlflow_db} is a link to {path}; if it is "
            f"meant, give --tracking-uri {SQLITE}{path}"
        )
    if "?" in str(path):
        raise TrackingError(
            f"The results folder of a sqlite tracker must have no '?' in its path, but it is {path.parent}; "
            "use another --results or give --tracking-uri"
        )
    return f"{SQLITE}{path}"


def artifact_location(tracking_uri: str, study: str, layout: Layout | None = None) -> str | None:
    """Return the artifact location of a new experiment; None leaves it to the server.

    It is beside a sqlite file, or in the results folder for any other database: MLflow itself would choose the current
    folder. Databases other than sqlite hold 200 characters for the location of a run.

    Raises:
        TrackingError: the results folder's path leaves no room.
    """
    database, folder = sqlite_path(tracking_uri), None
    if database is not None:
        folder = database.parent / "mlartifacts"
    elif layout is not None and is_database_server(tracking_uri):
        folder = layout.mlflow_artifacts.resolve()
    if folder is None:
        return None
    location = (folder / encode_name(study)).as_uri()
    if database is not None or len(location) <= _MAX_LOCATION_CHARACTERS:
        return location
    short = (folder / hashlib.sha256(study.encode("utf-8", "surrogatepass")).hexdigest()[:16]).as_uri()
    if len(short) > _MAX_LOCATION_CHARACTERS:
        raise TrackingError(
            f"With a database as tracker the URI of the artifacts' folder may have {_MAX_LOCATION_CHARACTERS - 17} "
            f"characters, but {folder.as_uri()} has more; use a shorter --results or an MLflow server"
        )
    return short


def sqlite_path(tracking_uri: str) -> Path | None:
    """Return the file of a sqlite URI, None for any other URI and for a database in memory."""
    database = tracking_uri.removeprefix(SQLITE).partition("?")[0]
    if not tracking_uri.startswith(SQLITE) or database in ("", ":memory:"):
        return None
    return Path(database).resolve()


def mask_uri(uri: str) -> str:
    """Return the URI with its password and secret query values replaced by ``***``.

    A password with unquoted ``/``, ``?`` or ``@`` is masked whole, even if that masks more than the password.
    """
    if (userinfo := _userinfo(uri)) is not None:
        user, password = userinfo
        if password:
            uri = uri.replace(f":{password}@", f":{MASK}@", 1)
        elif user and f"//{user}:@" in uri:  # a token in the place of the user
            uri = uri.replace(f"//{user}:@", f"//{MASK}:@", 1)
    before, mark, query = uri.partition("?")
    query, hash_mark, fragment = query.partition("#")
    pairs = parse_qsl(query)
    if not any(_is_secret(key) for key, _ in pairs):
        return uri
    shown = [(key, MASK if _is_secret(key) else value) for key, value in pairs]
    return f"{before}{mark}{urlencode(shown, safe='*/:')}{hash_mark}{fragment}"


def quoted_uri(uri: str) -> str:
    """Return the masked URI quoted for a shell, as the place in a command where the user puts the password back."""
    return shlex.quote(mask_uri(uri))


def mask_text(text: str, uri: str) -> str:
    """Return a library's message with the secrets of ``uri`` and of MLflow's variables masked."""
    user, password = _userinfo(uri) or ("", "")
    token = user if user and f"//{user}:@" in uri else ""
    pairs = [pair.partition("=") for pair in uri.partition("?")[2].partition("#")[0].split("&")]
    query = [value for key, _, value in pairs if _is_secret(key)]
    secrets = {password, token, *query, *_environment_secrets()}
    for secret in sorted(filter(None, {*secrets, *map(unquote, secrets)}), key=len, reverse=True):
        text = text.replace(secret, MASK)
    # HTTP libraries quote a password in different ways.
    return _ANY_PASSWORD.sub(rf"\1:{MASK}@", text) if password else text


def _userinfo(uri: str) -> tuple[str, str] | None:
    """Return user and password, the password with any unquoted characters in it; None where there is neither."""
    _, slashes, rest = uri.partition("://")
    if not slashes or "@" not in rest:
        return None
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host_port = netloc.rpartition("@")[2]
    may_be_port = ":" not in host_port or host_port.rpartition(":")[2].isdecimal()
    if "@" not in netloc and may_be_port and not (is_database_server(uri) and _SQLALCHEMY_USERINFO.match(rest)):
        return None  # what follows the host has the @
    user, _, password = rest.rpartition("@")[0].partition(":")
    if "@" in user or "/" in user:  # a bare user: the colon belongs to something behind it
        return netloc.rpartition("@")[0], ""
    return user, password


def is_server(uri: str) -> bool:
    """Whether the URI means an MLflow server."""
    return uri.startswith(("http://", "https://"))


def server_address(uri: str) -> str:
    """Return the address of a server without credentials, query and trailing slash."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")).rstrip("/")


def is_database_server(uri: str) -> bool:
    """Whether the URI means a database that is not a file."""
    return re.match(r"(postgresql|mysql|mssql)[+:]", uri) is not None


def is_database(uri: str) -> bool:
    """Whether the URI means a database."""
    return uri.startswith("sqlite:") or is_database_server(uri)


def _environment_secrets() -> list[str]:
    user, password, token = (
        os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")
    )
    basic = base64.standard_b64encode(f"{user}:{password}".encode()).decode()
    return list(filter(None, (password, token, basic if password else "")))


def local_path(uri: str) -> Path | None:
    """Return the folder of a file URI or plain path, None for anything remote."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        from urllib.request import url2pathname  # imports all of HTTP

        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme and uri.startswith("/") else None


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS)
