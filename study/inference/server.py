"""Run the service: its socket, clients that never finish what they send, and an orderly end."""

from __future__ import annotations

import asyncio
import math
import socket
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from study.errors import UsageError
from study.inference.service import InferenceService
from study.inference.web_app import LIMIT_S, Deadlines, make_app

_BACKLOG = 2048
_STATE = "study_idle_limit"


@dataclass(frozen=True)
class Limits:
    """Seconds that a client and the end of the service may take.

    Attributes:
        answer_s: for the body, decoding and classification of a request together.
        head_s: for a client to begin a request, or to send what is left of one that was answered early.
        drain_s: for the requests that are being answered when the service ends.
    """

    answer_s: float = LIMIT_S
    head_s: float = 10.0
    drain_s: float = 8.0


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 means a free one.

    Raises:
        UsageError: the address is in use or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"--host and --port must be free and of this machine, but {host}:{port}: {error.strerror or error}; "
            "choose others, --port 0 takes a free one"
        ) from error


def make_server(service: InferenceService, name: str, limits: Limits | None = None) -> uvicorn.Server:
    """Make the server of a service, whose ``run(sockets=[...])`` serves until SIGINT or SIGTERM.

    These end it within 10 s; what was accepted is answered first.

    Args:
        service: it runs.
        name: of the bundle.
        limits: of time.
    """
    limits = limits or Limits()
    deadlines = Deadlines(limits.answer_s)
    app = _WatchedApp(make_app(service, name, deadlines), limits.head_s)
    config = uvicorn.Config(
        app, http=_WatchedProtocol, ws="none", lifespan="off", log_level="error", access_log=False,
        server_header=False, timeout_graceful_shutdown=math.ceil(limits.drain_s + 1),
    )  # fmt: skip
    return _Server(config, deadlines, limits.drain_s)


class _Server(uvicorn.Server):
    """A server that lets no request outlast its end."""

    def __init__(self, config: uvicorn.Config, deadlines: Deadlines, drain_s: float) -> None:
        super().__init__(config)
        self._deadlines, self._drain_s = deadlines, drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, answer what was accepted, close."""
        self._deadlines.bring_forward(self._drain_s)
        await super().shutdown(sockets)


class IdleLimit:
    """Closes a connection on which no request is being answered and the next one does not begin in time."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_busy = False

    def connected(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a request."""
        self._transport = transport
        self._arm()

    def received(self) -> None:
        """Take note of bytes; outside of a request they are the first of the next one, or the last of an answered."""
        if not self._is_busy and self._timer is None:
            self._arm()

    def began(self) -> None:
        """Take note that a request is being answered, which has a limit of its own."""
        self._is_busy = True
        self.disarm()

    def ended(self) -> None:
        """Take note that it was answered."""
        self._is_busy = False

    def disarm(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _WatchedProtocol(H11Protocol):
    """HTTP/1.1 with a limit of time for the head of a request, which uvicorn waits for without end."""

    def __init__(self, config: uvicorn.Config, server_state: Any, app_state: dict[str, Any], **more: Any) -> None:
        assert isinstance(config.app, _WatchedApp)
        self._limit = IdleLimit(config.app.head_s)
        super().__init__(config, server_state, {**app_state, _STATE: self._limit}, **more)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._limit.connected(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._limit.received()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.disarm()
        super().connection_lost(exc)


class _WatchedApp:
    """Tells a connection's limit when a request begins and ends."""

    def __init__(self, app: ASGIApp, head_s: float) -> None:
        self._app, self.head_s = app, head_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit: IdleLimit = scope["state"][_STATE]
        limit.began()
        try:
            await self._app(scope, receive, send)
        finally:
            limit.ended()
