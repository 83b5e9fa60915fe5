"""Have MLflow's HTTP client acknowledge what a server sends at once: its answers come in two parts.

`mlflow server` with several workers, which is how it starts, lets asyncio take sockets for no TCP sockets, so that
Nagle's algorithm holds the second part of each answer back until the first is acknowledged. The client's kernel delays
that by 40 ms, which is more than all the rest of a short request.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

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
