"""Serve Optuna's dashboard on a ledger, for looking only."""

from __future__ import annotations

import json
import socket
import warnings
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from study import listening
from study.ledger.viewing import READ_ONLY, ViewedLedger

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_READING = ("GET", "HEAD")


class Dashboard:
    """A dashboard that listens already; ``url`` opens it on the study."""

    def __init__(self, ledger: ViewedLedger, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Listen on a port.

        Args:
            ledger: What is shown.
            host: Any other than 127.0.0.1 lets other machines in, by this machine's names and addresses only.
            port: Where to listen; 0 takes a free one.

        Raises:
            StudyError: the port is taken.
        """
        from optuna_dashboard._app import create_app

        port = listening.free_port(host, port)
        app = guarded(create_app(ledger), listening.allowed_hosts(host))
        kind = _ServerV6 if ":" in host else _Server
        self._server = make_server(host, port, app, server_class=kind, handler_class=_Quiet)
        (study,) = ledger.get_all_studies()
        self.url = f"{listening.address(host, port)}/dashboard/studies/{study._study_id}"

    def serve(self) -> None:
        """Answer until somebody interrupts or stops it from another thread."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optuna thinks of a plot is no news for who serves it
            self._server.serve_forever()

    def stop(self) -> None:
        """End ``serve`` in another thread."""
        self._server.shutdown()

    def close(self) -> None:
        """Free the port."""
        self._server.server_close()


def guarded(app: Application, hosts: Iterable[str]) -> Application:
    """Return an application that only reads, and answers only to this machine's names.

    The dashboard itself would let any site that a browser visits end trials and delete the study.
    """
    known = {host.strip("[]").lower() for host in hosts}

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = _host(environ.get("HTTP_HOST", ""))
        if asked not in known:
            return _refuse(start_response, f"this server is not called {asked!r}, but one of {sorted(known)}")
        if environ["REQUEST_METHOD"] not in _READING:
            return _refuse(start_response, READ_ONLY)
        return app(environ, start_response)

    return application


def _host(header: str) -> str | None:
    """Return the host of a Host header, without its port; None where there is none."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _refuse(start_response: Callable[..., Any], reason: str) -> Iterable[bytes]:
    start_response("403 Forbidden", [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of a request."""
