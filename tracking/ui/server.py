"""Serve MLflow's own user interface on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import requests

from study.errors import TrackingError
from study.paths import Layout
from study.utils import network
from tracking.client.database import require_schema
from tracking.client.http import innermost_reason, proxy_note
from tracking.client.preflight import preflight
from tracking.content.ui_views import RANKING, view_path
from tracking.moved_database import mend_locations
from tracking.tracking_uri import is_server, mask_text, mask_uri, server_address

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 5.0
_LOG_TAIL_CHARACTERS = 2000


@dataclass
class UiServer:
    """A running server.

    ``url`` opens it on the study that was asked for, ``address`` is its URI on this machine, ``log`` holds its output,
    and ``process`` is the supervisor of the server of the database at ``tracking_uri``.
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
        raise self.error(f"MLflow's server at {self.address} must go on until it is stopped, but {_ended(status)}")

    def error(self, message: str) -> TrackingError:
        """Return an error with the end of the server's log."""
        return TrackingError(f"{message}\n{mask_text(_tail(self.log), self.tracking_uri)}".rstrip())

    def stop(self) -> None:
        """Stop the server and its workers."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, kind)
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                self.process.wait()
            break
        self.log.close()


def serve(
    tracking_uri: str,
    artifacts: Path,
    host: str = "127.0.0.1",
    port: int = 5000,
    experiment_id: str | None = None,
    view: str = RANKING,
) -> UiServer:
    """Start `mlflow server` on a database and return once it answers; port 0 takes a free one.

    Any other host than 127.0.0.1 lets other machines in; MLflow's check of the Host header stays on and accepts this
    machine's names and addresses, or what MLFLOW_SERVER_ALLOWED_HOSTS names. Experiments that are made through this
    server keep their files in ``artifacts``. Without ``experiment_id`` the URL opens the list of experiments.

    Raises:
        StudyError: the port is taken.
        TrackingError: the server does not start.
    """
    if is_server(tracking_uri):
        raise TrackingError(
            f"Only a database needs serving, but {mask_uri(tracking_uri)} is a server; open it directly"
        )
    port = network.free_port(host, port)
    address = network.local_url(host, port)
    log = tempfile.TemporaryFile()  # noqa: SIM115 - the server goes on writing, and `stop` closes it
    try:
        process = _launch(tracking_uri, artifacts, host, port, log)
    except BaseException:
        log.close()
        raise
    url = network.public_url(host, port) + view_path(experiment_id, view)
    server = UiServer(address, url, process, tracking_uri, log)
    try:
        _wait_until_up(address, process)
    except TrackingError as exc:
        error = server.error(str(exc))
        server.stop()
        raise error from exc
    except BaseException:
        server.stop()
        raise
    return server


def require_database(layout: Layout, tracking_uri: str) -> None:
    """Check that MLflow can serve a database.

    Raises:
        TrackingError: it does not exist, cannot be reached, has another schema, or is read-only: MLflow's server
            writes to it.
    """
    if (fault := preflight(layout, tracking_uri, study="")) is not None:
        raise TrackingError(f"MLflow's database must be within reach, but {mask_uri(tracking_uri)} is not: {fault}")
    require_schema(tracking_uri, to_read=True)
    mend_locations(tracking_uri)


def server_page(tracking_uri: str, experiment_id: str | None, view: str = RANKING) -> str:
    """Return the URL that opens a running server on an experiment, without the credentials its URI may have.

    Raises:
        TrackingError: nothing answers there.
    """
    address = server_address(tracking_uri)
    try:
        requests.get(f"{address}/health", timeout=_ANSWER_TIMEOUT_S)  # any status will do: the server is there
    except requests.exceptions.SSLError:
        pass  # the browser may trust a certificate that this process does not
    except (requests.RequestException, ValueError) as exc:
        raise TrackingError(
            f"MLflow's server must answer at {address}, but: {innermost_reason(exc)}; start it, or give another "
            f"--tracking-uri{proxy_note(tracking_uri)}"
        ) from exc
    return f"{address}{view_path(experiment_id, view)}"


def _launch(tracking_uri: str, artifacts: Path, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    supervisor = [sys.executable, "-P", "-m", "tracking.ui.supervisor", str(os.getpid())]
    server = [sys.executable, "-P", "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    # The URI goes through the environment: a command line with a password is readable by everybody.
    environment = {
        **_access_settings(host, port),
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts.resolve().as_uri(),
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts.resolve().as_uri(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        [*supervisor, *server, "--uvicorn-opts", "--log-level warning"],
        env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip


def _access_settings(host: str, port: int) -> dict[str, str]:
    """Return the settings by which MLflow answers browsers that use one of this machine's names."""
    if network.is_loopback(host):
        return {}
    names = network.allowed_hosts(host)
    # An opening bracket begins a set of characters in MLflow's patterns.
    patterns = [pattern for name in names for pattern in (name, f"{name.replace('[', '[[]')}:*")]
    origins = [f"http://{name}:{port}" for name in names]
    return {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(patterns),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins),
    }


def _wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with requests.Session() as session:
        session.trust_env = False  # a proxy would look for the address on its own machine
        while time.monotonic() < deadline:
            if (status := process.poll()) is not None:
                raise TrackingError(f"MLflow's server must answer at {address}, but {_ended(status)}")
            try:
                if session.get(f"{address}/health", timeout=2).ok:
                    return
            except requests.RequestException:
                time.sleep(_POLL_S)
    raise TrackingError(f"MLflow's server must answer at {address} within {_START_TIMEOUT_S:.0f} s, but did not")


def _ended(status: int) -> str:
    return f"it ended with status {status}" if status >= 0 else f"signal {-status} ended it"


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_CHARACTERS))
    return log.read().decode(errors="replace")
