"""Let browsers keep MLflow's scripts: their names change with their content, yet MLflow has each asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tracking.serving.first_page import App, Message, Send

_NAMED_BY_CONTENT = "/static-files/static/"
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")


class StaticFiles:
    """An ASGI application that lets what another serves by a hashed name be kept."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Answer a request."""
        named = scope["type"] == "http" and scope["path"].startswith(_NAMED_BY_CONTENT)
        await self._app(scope, receive, _keeping(send) if named else send)


def _keeping(send: Send) -> Send:
    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            headers = [one for one in message["headers"] if one[0].lower() != b"cache-control"]
            message = {**message, "headers": [*headers, _FOR_EVER]}
        await send(message)

    return keep
