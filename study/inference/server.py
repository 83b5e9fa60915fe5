"""Run the service: its socket, clients that never finish what they send, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from study.errors import UsageError
from study.inference.service import InferenceService
from study.inference.service_metrics import Counter
from study.inference.web_app import LIMIT_S, Deadlines, make_app

CONNECTIONS = 256
RETRY_AFTER_S = 2
_REFUSED_AT_MOST = 64
"""Connections over the limit that are told so at the same time; more are closed without a word."""
_REST_S = 2.0
"""How long to read the body of a request that is refused; without that its answer would be lost."""
_BACKLOG = 2048
_STATE = "study_connection"


@dataclass(frozen=True)
class Limits:
    """What clients and the end of the service may take, in seconds, and how many connections there may be.

    Attributes:
        answer_s: for the body, decoding and classification of a request together.
        head_s: for a client to begin a request, or to send what is left of one that was answered early.
        drain_s: for the requests that are being answered when the service ends.
        connections: at the same time; what comes on further ones is answered by 503, but for /health.
    """

    answer_s: float = LIMIT_S
    head_s: float = 10.0
    drain_s: float = 8.0
    connections: int = CONNECTIONS


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
        limits: of time and connections.
    """
    limits = limits or Limits()
    deadlines = Deadlines(limits.answer_s)
    app = _WatchedApp(make_app(service, name, deadlines), limits, service.metrics.refused)
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
        self._app, self._limit = config.app, IdleLimit(config.app.head_s)
        super().__init__(config, server_state, {**app_state, _STATE: self._limit}, **more)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._app.opened(self._limit)
        self._limit.connected(transport)
        super().connection_made(transport)
        if self._app.has_far_too_many:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._limit.received()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.disarm()
        self._app.closed(self._limit)
        super().connection_lost(exc)


class _WatchedApp:
    """Tells a connection's limit when a request begins and ends, and refuses connections that are too many."""

    def __init__(self, app: ASGIApp, limits: Limits, refused: Counter) -> None:
        self._app, self.head_s, self._most, self._refused = app, limits.head_s, limits.connections, refused
        self._served: set[IdleLimit] = set()
        self._over: set[IdleLimit] = set()

    @property
    def has_far_too_many(self) -> bool:
        """Whether even those that are only told so are too many."""
        return len(self._over) > _REFUSED_AT_MOST

    def opened(self, connection: IdleLimit) -> None:
        """Count a connection."""
        if len(self._served) < self._most:
            self._served.add(connection)
        else:
            self._over.add(connection)
            self._refused.add("connections")

    def closed(self, connection: IdleLimit) -> None:
        """Forget a connection."""
        self._served.discard(connection)
        self._over.discard(connection)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: IdleLimit = scope["state"][_STATE]
        connection.began()
        try:
            if connection in self._over and scope["path"] != "/health":
                await self._refuse(receive, send)
            else:
                await self._app(scope, receive, send)
        finally:
            connection.ended()

    async def _refuse(self, receive: Receive, send: Send) -> None:
        """Answer 503 after the body, which a closed connection would take the answer from, and close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REST_S):
                while (await receive()).get("more_body"):
                    pass
        words = f"{self._most} connections are open, as many as may be; try again in {RETRY_AFTER_S} s"
        headers = [
            (b"content-type", b"application/json"), (b"retry-after", str(RETRY_AFTER_S).encode()),
            (b"connection", b"close"),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps({"error": words}).encode()})
