"""Serve MLflow's own user interface on this machine."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, NoReturn

from study.errors import TrackingError
from study.paths import Layout
from study.utils import network as listening
from tracking.client.client import TrackingClient
from tracking.client.database import is_missing
from tracking.client.preflight import preflight
from tracking.content.ui_views import RANKING, view_path
from tracking.tracking_uri import mask_text, mask_uri
from tracking.ui.links import page_address

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


_LOOK_EVERY_S = 1.0


def main(host: str, port: str, parent: str) -> None:
    """Serve the database of MLFLOW_BACKEND_STORE_URI until a signal ends it or the process ``parent`` is gone."""
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    try:
        app = _prepared()
    except (ImportError, AttributeError):  # another MLflow inside; its command stays what it is
        command = ["mlflow", "server", "--host", host, "--port", port, "--workers", "1"]
        os.execv(sys.executable, [sys.executable, "-m", *command])
    import uvicorn

    uvicorn.run(StaticFiles(FirstPage(app)), host=host, port=int(port), log_level="warning")


def _end_with(parent: int) -> None:
    """End this process when another is gone, however that went: a server nobody knows of keeps its port."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _prepared() -> App:
    """Do what `mlflow server` does before it starts its workers, and return what they run."""
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    database, root = os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: database,
        constants.REGISTRY_STORE_URI_ENV_VAR: database,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: os.environ["MLFLOW_ARTIFACTS_DESTINATION"],
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    initialize_backend_stores(database, database, root)
    from mlflow.server.fastapi_app import app

    served: App = app
    return served


if __name__ == "__main__":
    main(*sys.argv[1:])


_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 5.0
_LOG_TAIL_CHARACTERS = 2000


@dataclass
class UiServer:
    """A running server; ``url`` opens it on the study that was asked for, ``address`` is its URI on this machine.

    ``log`` has what it says of the database at ``tracking_uri``.
    """

    address: str
    url: str
    process: subprocess.Popen[bytes]
    tracking_uri: str
    log: IO[bytes]

    def wait(self) -> NoReturn:
        """Wait until somebody interrupts.

        Raises:
            TrackingError: the server ended by itself.
        """
        status = self.process.wait()
        raise self.fault(f"MLflow's server at {self.address} must go on until it is stopped, but {_ended(status)}")

    def fault(self, words: str) -> TrackingError:
        """Return an error with the last that the server said."""
        return TrackingError(f"{words}\n{mask_text(_tail(self.log), self.tracking_uri)}".rstrip())

    def stop(self) -> None:
        """Stop the server and its workers."""
        self._end()
        self.log.close()

    def _end(self) -> None:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, kind)
                self.process.wait(_STOP_TIMEOUT_S)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue
            return


def serve(
    tracking_uri: str,
    artifacts: Path,
    host: str = "127.0.0.1",
    port: int = 5000,
    experiment_id: str | None = None,
    view: str = RANKING,
) -> UiServer:
    """Start MLflow's server on a database and return once it answers.

    Args:
        tracking_uri: A database; a server's URI needs no serving, open it in a browser.
        artifacts: Where experiments made through this server keep their artifacts.
        host: Any other than 127.0.0.1 lets other machines in; MLflow's check of the Host header stays on and knows
            this machine's names and addresses, or what MLFLOW_SERVER_ALLOWED_HOSTS names.
        port: Where to listen; 0 takes a free one.
        experiment_id: What the URL opens; None opens the list of experiments.
        view: One of the table views in ``tracking.content.ui_views``.

    Raises:
        StudyError: the port is taken.
        TrackingError: the server does not come up.
    """
    if tracking_uri.startswith(("http://", "https://")):
        raise TrackingError(
            f"Only a database needs serving, but {mask_uri(tracking_uri)} is a server; open it directly"
        )
    port = listening.free_port(host, port)
    address = listening.local_url(host, port)
    if is_missing(tracking_uri):
        TrackingClient(tracking_uri)
    log = tempfile.TemporaryFile()  # noqa: SIM115 - the server goes on writing, and `stop` closes it
    try:
        process = _launch(tracking_uri, artifacts, host, port, log)
    except BaseException:
        log.close()
        raise
    url = listening.public_url(host, port) + view_path(experiment_id, view)
    server = UiServer(address, url, process, tracking_uri, log)
    try:
        _await(address, process)
    except TrackingError as exc:
        fault = server.fault(str(exc))
        server.stop()
        raise fault from exc
    except BaseException:
        server.stop()
        raise
    return server


def require_database(layout: Layout, tracking_uri: str) -> None:
    """Make sure that MLflow can serve a database, whatever became of its experiments.

    Raises:
        TrackingError: it cannot be reached, has another schema, or is read-only: MLflow's server writes to it.
    """
    if (fault := preflight(layout, tracking_uri, study="")) is not None:
        raise TrackingError(f"MLflow's database must be within reach, but {mask_uri(tracking_uri)} is not: {fault}")


def server_page(tracking_uri: str, experiment_id: str | None, view: str = RANKING) -> str:
    """Return the URL that opens a running server on an experiment, without the credentials its URI may have.

    Raises:
        TrackingError: nothing answers there.
    """
    address = page_address(tracking_uri)
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=_ANSWER_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as exc:  # whoever refuses is there
        exc.close()
    except (OSError, ValueError, HTTPException) as exc:
        # A certificate that only the browser knows is no reason to keep the address back.
        if not isinstance(getattr(exc, "reason", exc), ssl.SSLError):
            raise TrackingError(
                f"MLflow's server must answer at {address}, but: {exc}; start it, or give another --tracking-uri"
            ) from exc
    return f"{address}{view_path(experiment_id, view)}"


def _launch(tracking_uri: str, artifacts: Path, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "tracking.ui.server", host, str(port), str(os.getpid())]
    # The URI goes through the environment: a command line with a password is readable by everybody.
    environment = {
        **_welcome(host, port),
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts.resolve().as_uri(),
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts.resolve().as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _welcome(host: str, port: int) -> dict[str, str]:
    """Let browsers of other machines in by this machine's names; MLflow by itself would refuse what its page asks."""
    if listening.is_loopback(host):
        return {}
    names = listening.allowed_hosts(host)
    # An opening bracket begins a set of characters in MLflow's patterns.
    patterns = [one for name in names for one in (name, f"{name.replace('[', '[[]')}:*")]
    origins = [f"http://{name}:{port}" for name in names]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(patterns),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would look for it on itself
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if (status := process.poll()) is not None:
            raise TrackingError(f"MLflow's server must answer at {address}, but {_ended(status)}")
        try:
            with direct.open(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise TrackingError(f"MLflow's server must answer at {address} within {_START_TIMEOUT_S:.0f} s, but did not")


def _ended(status: int) -> str:
    return f"it ended with status {status}" if status >= 0 else f"signal {-status} ended it"


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_CHARACTERS))
    return log.read().decode(errors="replace")
