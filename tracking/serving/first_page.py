"""Let MLflow's page open for model training, with all its width for the runs, whoever opens it the first time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]
# What the page itself would store: the assistant was opened before (its button stays), and model training is chosen.
_CHOSEN = {"mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true", "mlflow.workflowType_v1": '"machine_learning"'}
_SCRIPT = (
    f"<script>for (const [key, value] of Object.entries({json.dumps(_CHOSEN)})) "
    "localStorage.getItem(key) ?? localStorage.setItem(key, value);</script>"
).encode()


class FirstPage:
    """An ASGI application that puts a line of script into the first page of another."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("GET", "/"):
            await self._app(scope, receive, send)
            return
        # A page that the browser has already is sent again: it may be without the script.
        headers = [one for one in scope["headers"] if not one[0].lower().startswith(b"if-")]
        await self._app({**scope, "headers": headers}, receive, _Page(send).send)


class _Page:
    """Holds an answer back until it is whole, and completes it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._body.replace(b"<head>", b"<head>" + _SCRIPT, 1)
        headers = [one for one in self._start["headers"] if one[0].lower() not in (b"content-length", b"etag")]
        await self._send({**self._start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})
