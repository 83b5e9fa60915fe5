"""Plain HTTP to an MLflow server, with the credentials and certificates that MLflow's own client would use."""

from __future__ import annotations

import base64
import configparser
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from requests.auth import HTTPBasicAuth
from requests.utils import get_environ_proxies

from tracking.tracking_uri import mask_uri, server_address

MAX_RETRY_AFTER_S = 600.0
API = "/api/2.0/mlflow/"
TIMEOUT_S = 30.0


def open_session(tracking_uri: str, timeout_s: float = TIMEOUT_S) -> requests.Session:
    """Return a session for requests below ``server_address``; proxies and certificates are those of the environment.

    Credentials are those of the URI, else of ~/.netrc, else of MLflow's environment variables or its file.
    """
    session = _Session(timeout_s)
    parts = urlsplit(tracking_uri)
    if parts.username is not None and parts.password is not None:
        session.auth = HTTPBasicAuth(unquote(parts.username).encode(), unquote(parts.password).encode())
    elif user := _user_of_mlflow():
        session.headers["Authorization"] = f"Basic {base64.standard_b64encode(user.encode()).decode()}"
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        session.headers["Authorization"] = f"Bearer {token}"
    if certificate := os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        session.cert = certificate
    return session


class _Session(requests.Session):
    """Gives each request a timeout, and the choice of certificates precedence over that of requests' own variables."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._defaults: dict[str, Any] = {"timeout": timeout_s}
        if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
            self._defaults["verify"] = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the user knows
        elif bundle := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            self._defaults["verify"] = bundle

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request."""
        return super().request(method, url, *args, **{**self._defaults, **kwargs})


def _user_of_mlflow() -> str | None:
    """Return ``USER:PASSWORD`` of MLflow's environment variables or of its file, None where either is missing."""
    config = configparser.ConfigParser()
    with suppress(OSError, RuntimeError, configparser.Error, UnicodeDecodeError):  # RuntimeError: no home
        config.read(Path.home() / ".mlflow" / "credentials")
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    values = [os.environ.get(name) or config.get("mlflow", name.lower(), fallback=None) for name in names]
    return ":".join(map(str, values)) if all(values) else None


def retry_after_s(tracking_uri: str) -> float:
    """Ask a server that limits the rate of requests how long to wait; 0 where it does not say.

    MLflow's client raises without the headers of the answer, so this makes a request of its own.
    """
    try:
        with open_session(tracking_uri) as session:
            url = f"{server_address(tracking_uri)}{API}experiments/get-by-name"
            wait = session.get(url, params={"experiment_name": "Default"}).headers.get("Retry-After")
        return 0.0 if wait is None else min(urllib3.Retry().parse_retry_after(wait), MAX_RETRY_AFTER_S)
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError):
        return 0.0


def proxy_note(tracking_uri: str) -> str:
    """Return which proxy of the environment a server is asked through and how to go past it; nothing without one."""
    address = server_address(tracking_uri)
    host, scheme = urlsplit(address).hostname, urlsplit(address).scheme
    proxies = get_environ_proxies(address)
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if proxies and host and (proxy := os.environ.get(name)):
            shown = mask_uri(proxy if "://" in proxy else f"http://{proxy}")
            past = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), host)))
            return (
                f"; it is asked through the proxy {shown} of the variable {name}, "
                f"`export no_proxy={shlex.quote(past)}` asks it directly"
            )
    return ""


def innermost_reason(exc: BaseException) -> str:
    """Return the operating system's words for a failed request where it has some, else those nearest to the cause."""
    reason: BaseException = exc
    while isinstance(deeper := _cause(reason), BaseException):
        reason = deeper
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _cause(exc: BaseException) -> object:
    """Return what requests, urllib3 or the interpreter keeps as the reason of an error."""
    nested = next((argument for argument in exc.args if isinstance(argument, BaseException)), None)
    return getattr(exc, "reason", None) or nested or exc.__cause__ or exc.__context__
