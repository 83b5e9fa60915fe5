"""A proxy before a real MLflow server that loses, cuts, delays and refuses requests as a script says."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal[
    "refused",  # the connection is reset before anything is read
    "hanging",  # the request is read, and nothing comes back
    "slow",  # the answer comes after ``delay_s``
    "500",
    "429",  # with Retry-After
    "cut request",  # the connection breaks in mid-body, and the server never sees the rest
    "cut answer",  # the server did it, and the connection breaks in mid-answer
    "lost answer",  # the server did it, and nothing comes back
    "late",  # like hanging, but the server does it when the client has given up
]
FAULTS: tuple[Fault, ...] = ("refused", "slow", "500", "429", "cut request", "cut answer", "lost answer")
_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host", "server", "date")


@dataclass(frozen=True)
class Request:
    """One request as it arrived; ``number`` counts from 1."""

    number: int
    method: str
    path: str
    body: bytes
    authorization: str | None


Script = Callable[[Request], Fault | None]


class FaultProxy:
    """Listens on its own port; ``script`` may be exchanged at any time."""

    def __init__(self, target: str, script: Script = lambda request: None) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "", parts.port or 80)
        self.script = script
        self.delay_s = 0.05
        self.retry_after: str | None = "1"
        self.wanted: str | None = None  # an Authorization that every request must have
        self.requests: list[Request] = []
        self.faults = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, method: str, path: str, body: bytes, authorization: str | None) -> tuple[Request, Fault | None]:
        """Count a request and choose what befalls it."""
        with self._lock:
            request = Request(len(self.requests) + 1, method, path, body, authorization)
            self.requests.append(request)
            fault = self.script(request)
            self.faults += fault is not None
        return request, fault

    def hold(self) -> None:
        """Wait until somebody releases what hangs."""
        self._released.wait(30)

    def release(self) -> None:
        """Let go of what hangs."""
        self._released.set()

    def close(self) -> None:
        """Stop listening."""
        self.release()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: broken connections are the purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _serve(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request, fault = proxy.take(self.command, self.path, body, self.headers.get("Authorization"))
        if proxy.wanted is not None and request.authorization != proxy.wanted:
            self._answer(401, {"Content-Type": "text/plain"}, b"You are not authenticated.")
        elif fault in ("refused", "hanging", "late"):
            if fault != "refused":
                proxy.hold()
            if fault == "late":
                self._forward(body)
            self._break()
        elif fault == "cut request":
            self._forward_half(body)
            self._break()
        elif fault in ("500", "429"):
            extra = {"Retry-After": proxy.retry_after} if fault == "429" and proxy.retry_after else {}
            self._answer(int(fault), {"Content-Type": "text/plain", **extra}, b"not now")
        else:
            self._pass_on(body, fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        if fault == "slow":
            threading.Event().wait(self.server.proxy.delay_s)
        status, headers, answer = self._forward(body)
        if fault == "lost answer":
            self._break()
        elif fault == "cut answer":
            self._answer(status, headers, answer, sent=len(answer) // 2)
            self._break()
        else:
            self._answer(status, headers, answer)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(*self.server.proxy.target, timeout=300)
        try:
            upstream.request(self.command, self.path, body, self._headers())
            answer = upstream.getresponse()
            headers = {key: value for key, value in answer.getheaders() if key.lower() not in _HOP}
            return answer.status, headers, answer.read()
        finally:
            upstream.close()

    def _forward_half(self, body: bytes) -> None:
        """Send a request whose body ends too early."""
        with suppress(OSError), socket.create_connection(self.server.proxy.target) as upstream:
            head = "".join(f"{key}: {value}\r\n" for key, value in self._headers().items())
            length = f"Content-Length: {len(body) + 1}\r\nHost: localhost\r\n\r\n"
            upstream.sendall(f"{self.command} {self.path} HTTP/1.1\r\n{head}{length}".encode() + body[: len(body) // 2])

    def _headers(self) -> dict[str, str]:
        return {key: value for key, value in self.headers.items() if key.lower() not in _HOP}

    def _answer(self, status: int, headers: dict[str, str], body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()

    def _break(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def twice_each(offset: int) -> Script:
    """Let every request fail the first two times it is made; with offsets 0, 2 and 4 each fails in each way."""
    ways = [fault for fault in FAULTS if fault != "slow"]
    places: dict[tuple[str, str, bytes], int] = {}
    made: Counter[int] = Counter()

    def script(request: Request) -> Fault | None:
        place = places.setdefault((request.method, request.path, request.body), len(places))
        made[place] += 1
        return ways[(place + offset + made[place] - 1) % len(ways)] if made[place] <= 2 else None

    return script


def first(fault: Fault, is_it: Callable[[Request], bool]) -> Script:
    """Let the first request fail that is meant."""
    met: list[Request] = []

    def script(request: Request) -> Fault | None:
        if met or not is_it(request):
            return None
        met.append(request)
        return fault

    return script


def every(nth: int, faults: tuple[Fault, ...] = FAULTS) -> Script:
    """Let every n-th request fail, in one way after another."""
    return lambda request: faults[request.number // nth % len(faults)] if request.number % nth == 0 else None


@contextmanager
def between(target: str, script: Script = lambda request: None) -> Iterator[FaultProxy]:
    """Stand between a client and a server."""
    proxy = FaultProxy(target, script)
    try:
        yield proxy
    finally:
        proxy.close()
