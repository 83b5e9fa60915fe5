"""Make MLflow's HTTP client try once more what may be done twice, and say how long a server wants to be left alone."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

_SAID = "; Retry-After: "
_FOUND = re.compile(re.escape(_SAID) + r"(\d+(?:\.\d+)?)")
_HARMLESS = re.compile(
    r"/mlflow/(runs/(search|log-batch|log-inputs|update|set-tag)|experiments/(search|set-experiment-tag))$"
    r"|/mlflow-artifacts/artifacts/"
)
MOST_PATIENCE_S = 600.0


def configure_retries() -> None:
    """Change the retries of MLflow's HTTP requests; to be called once mlflow is loaded.

    MLflow can only be told to try everything again, which makes a run twice, or nothing, which lets a broken
    connection in a thousand stop a long upload again and again. A request that does no harm twice is tried twice, at
    once; after a timeout nothing is. The last error says the Retry-After of the answer.
    """
    from urllib3.exceptions import MaxRetryError, NewConnectionError, ResponseError, TimeoutError
    from urllib3.util.retry import RequestHistory

    request_utils: Any = import_module("mlflow.utils.request_utils")
    if getattr(request_utils.Retry, "is_patient", False):
        return

    class PatientRetry(request_utils.Retry):  # type: ignore[misc]
        is_patient = True

        def increment(
            self, method: str | None = None, url: str | None = None, response: Any = None,
            error: Exception | None = None, _pool: Any = None, _stacktrace: Any = None,
        ) -> Any:  # fmt: skip
            wait_s = None if response is None else self.get_retry_after(response)
            hopeless = isinstance(error, NewConnectionError | TimeoutError) or wait_s is not None
            if self.total == 0 and not self.history and not hopeless and is_harmless(method or "", url or ""):
                status = None if response is None else response.status
                return self.new(history=(RequestHistory(method, url, error, status, None),))
            try:
                return super().increment(method, url, response, error, _pool, _stacktrace)
            except MaxRetryError as exc:
                if wait_s is None:
                    raise
                raise MaxRetryError(exc.pool, exc.url or "", ResponseError(f"{exc.reason}{_SAID}{wait_s}")) from exc

    request_utils.Retry = PatientRetry


def is_harmless(method: str, url: str) -> bool:
    """Whether a request to MLflow may be made twice with the effect of one."""
    return method == "GET" or _HARMLESS.search(url.partition("?")[0]) is not None


def wait_asked_s(message: str) -> float:
    """Return how many seconds an error's text asks to wait, at most ``MOST_PATIENCE_S``; 0 where it does not."""
    found = _FOUND.search(message)
    return min(float(found[1]), MOST_PATIENCE_S) if found else 0.0


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # of Linux


def teach_quickness() -> None:
    """Change the connections of MLflow's HTTP requests; to be called once mlflow is loaded."""
    if _QUICKACK is None:
        return
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    request_utils: Any = import_module("mlflow.utils.request_utils")
    known = request_utils.TCPKeepAliveHTTPAdapter
    if getattr(known, "is_quick", False):
        return

    class Quick(HTTPConnection):
        def getresponse(self) -> Any:
            acknowledge_at_once(self.sock)
            return super().getresponse()

    class QuickSecure(HTTPSConnection):
        def getresponse(self) -> Any:
            acknowledge_at_once(self.sock)
            return super().getresponse()

    class QuickPool(HTTPConnectionPool):
        ConnectionCls = Quick

    class QuickSecurePool(HTTPSConnectionPool):
        ConnectionCls = QuickSecure

    class QuickAdapter(known):  # type: ignore[misc, valid-type]
        is_quick = True

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": QuickPool, "https": QuickSecurePool}

    request_utils.TCPKeepAliveHTTPAdapter = QuickAdapter


def acknowledge_at_once(connection: Any) -> None:
    """Let the kernel acknowledge what comes next on a connection without delay; it forgets that again by itself."""
    assert _QUICKACK is not None
    with suppress(OSError, AttributeError):
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
