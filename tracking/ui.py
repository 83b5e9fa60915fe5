"""Serve MLflow's own user interface on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from study.errors import TrackingError
from tracking.database import is_missing
from tracking.door import Door
from tracking.uri import mask_text, mask_uri
from tracking.view import RANKING, view_path

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.2
_LOG_TAIL_CHARACTERS = 2000


@dataclass
class UiServer:
    """A running server; ``url`` opens it on the study that was asked for, ``address`` is its tracking URI."""

    address: str
    url: str
    process: subprocess.Popen[bytes]

    def wait(self) -> int:
        """Wait until the server ends and return its exit status."""
        return self.process.wait()

    def stop(self) -> None:
        """Stop the server and its workers."""
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
        host: Any other than 127.0.0.1 lets other machines in; MLflow's check of the Host header stays on.
        port: Where to listen; 0 takes a free one.
        experiment_id: What the URL opens; None opens the list of experiments.
        view: One of the table views in ``tracking.view``.

    Raises:
        TrackingError: the port is taken, or the server does not come up.
    """
    if tracking_uri.startswith(("http://", "https://")):
        raise TrackingError(
            f"Only a database needs serving, but {mask_uri(tracking_uri)} is a server; open it directly"
        )
    if is_missing(tracking_uri):
        Door(tracking_uri)
    port = _free_port(host, port)
    address = f"http://{host}:{port}"
    with tempfile.TemporaryFile() as log:
        process = _launch(tracking_uri, artifacts, host, port, log)
        server = UiServer(address, address + view_path(experiment_id, view), process)
        try:
            _await(address, process)
        except TrackingError as exc:
            server.stop()
            raise TrackingError(f"{exc}\n{mask_text(_tail(log), tracking_uri)}".rstrip()) from exc
        except BaseException:
            server.stop()
            raise
    return server


def _launch(tracking_uri: str, artifacts: Path, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    # The URI goes through the environment: a command line with a password is readable by everybody.
    environment = {
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


def _free_port(host: str, port: int) -> int:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as exc:
        raise TrackingError(f"The port must be free, but {host}:{port} is not ({exc}); choose another --port") from exc


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if (status := process.poll()) is not None:
            raise TrackingError(f"MLflow's server must answer at {address}, but it ended with status {status}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(_POLL_S)
    raise TrackingError(f"MLflow's server must answer at {address} within {_START_TIMEOUT_S:.0f} s, but did not")


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_CHARACTERS))
    return log.read().decode(errors="replace")
