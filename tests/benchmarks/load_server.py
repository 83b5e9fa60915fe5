"""The server of the tracking benchmark, what was asked of it, and the check of what it has in the end."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from machine import processes_of_session

SAMPLE = 3
PATIENCE_S = 120.0
_REQUEST = re.compile(rb'"(GET|POST|PATCH|DELETE) (/\S+)')


class Server:
    """`mlflow server` as it comes, with its four workers, on a fresh sqlite file and on this machine."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "mlflow.db"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Server:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
        command += ["--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self._await()
        self._requests_before, self._cpu_before_s = len(self.requests()), self.cpu_s()
        return self

    def __exit__(self, *fault: object) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()

    def requests(self) -> list[bytes]:
        """Return what was asked of the server, from its own log."""
        return [request[2] for request in _REQUEST.finditer(self._log.read_bytes())]

    def cpu_s(self) -> float:
        """Return the time the server's processes took of the processor."""
        return sum(map(cpu_s_of, processes_of_session(self._process.pid)))

    def figures(self, reports: int) -> dict[str, Any]:
        """Return what so many reports meant for the server since it came up."""
        asked = self.requests()[self._requests_before :]
        batches = sum(path.endswith(b"/runs/log-batch") for path in asked)
        return {
            "requests": len(asked),
            "log_batch_requests": batches,
            "requests_per_report": len(asked) / reports,
            "server_cpu_s": self.cpu_s() - self._cpu_before_s,
        }

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _await(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/health", timeout=2):
                return
            time.sleep(0.2)
        raise RuntimeError(self._log.read_text())


def rss_mib(pid: int | str = "self") -> float:
    """Return a process's memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def cpu_s_of(pid: int) -> float:
    """Return the time a process took of the processor; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def values_of(trial: int, epoch: int, count: int) -> dict[str, float]:
    """Return as many metrics as asked for, the objective among them."""
    base = math.sin(trial + 1.0) * epoch
    return {"val_auc": 0.5 + 0.4 * math.tanh(base), **{f"metric_{n:02d}": base / (n + 2) for n in range(1, count)}}


def check_stored(server: Server, asked: argparse.Namespace) -> int:
    """Make sure that the server has every epoch of every metric of every trial once; return how many points these are.

    All of them are looked up in its database, those of a few runs asked for as anybody would.
    """
    import mlflow

    epochs = asked.rate * asked.seconds
    with sqlite3.connect(server.database) as database:
        rows = database.execute(
            "select r.run_uuid, t.value, m.key, count(*), count(distinct m.step), min(m.step), max(m.step)"
            " from runs r join tags t on t.run_uuid = r.run_uuid and t.key = 'study.trial'"
            " join metrics m on m.run_uuid = r.run_uuid"
            " where m.key = 'val_auc' or m.key like 'metric_%' group by r.run_uuid, m.key"
        ).fetchall()
    database.close()
    stored = {(int(trial), key): rest for _, trial, key, *rest in rows}
    names = list(values_of(0, 1, asked.metrics))
    assert len(stored) == len(rows) == asked.trials * asked.metrics
    assert set(stored) == {(trial, name) for trial in range(asked.trials) for name in names}
    assert all(rest == [epochs, epochs, 1, epochs] for rest in stored.values())
    client = mlflow.MlflowClient(server.address)
    for run, trial in {run: int(trial) for run, trial, *_ in rows[:: len(rows) // SAMPLE]}.items():
        for name in names:
            history = {point.step: point.value for point in client.get_metric_history(run, name)}
            assert history == {at: values_of(trial, at, asked.metrics)[name] for at in range(1, epochs + 1)}
    return sum(rest[0] for rest in stored.values())
