"""How `study serve` bears a load: clients that send pictures without a pause, slow clients beside them, and its end.

    .venv/bin/python tests/benchmarks/serve_load.py BUNDLE --out results/reference/serve_load.json

BUNDLE is one that `study export-best` wrote. The clients are threads of a process of their own on the same machine, so
that they take part of its cores. The pictures are the built-in faces as JPEGs at 112 px. Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import busy_cores, commit_of, describe_machine
from predict_speed import write_pictures

ROOT = Path(__file__).resolve().parents[2]
SLOW = (b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx", b"P", b"")
"""What slow clients send before they wait: part of a body, part of a head, nothing."""


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--slow", type=int, default=80, help="Slow clients, beside a second round of the others.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "others_keep_busy_cores": round(busy_cores(), 2),
        "bundle": json.loads((options.bundle / "config.json").read_text())["architecture"],
        "clients": options.clients,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        write_pictures(Path(scratch) / "faces", Path(scratch) / "photographs", 100, 0)
        pictures = [path.read_bytes() for path in sorted((Path(scratch) / "faces").iterdir())]
        with serving(options.bundle) as (process, port):
            result["load"] = load(port, pictures, options.clients, options.seconds)
            with slow_clients(port, options.slow) as left_s:
                result["load_beside_slow_clients"] = load(port, pictures, options.clients, 15)
            assert len(left_s) == options.slow
            result["slow_clients"] = {"clients": options.slow, "longest_s": round(max(left_s), 1)}
            result["resident_mib"] = peak_mib(process.pid)
            metrics = fetch(port, "/metrics").decode()
            result["answers"] = dict(re.findall(r'study_requests_total\{status="(\d+)"\} (\d+)', metrics))
            ending = multiprocessing.Process(target=_send, args=(port, pictures, options.clients, 5))
            ending.start()
            time.sleep(2)
            started_s = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            result["end"] = {"exit_code": process.wait(30), "seconds": round(time.perf_counter() - started_s, 2)}
            ending.join()
    text = json.dumps(result, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


@contextlib.contextmanager
def serving(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `study serve` and yield its process and port."""
    command = [sys.executable, "-m", "cli.main", "serve", str(bundle.resolve()), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert match is not None, line
        yield process, int(match[1])
    finally:
        process.kill()
        process.wait()


def load(port: int, pictures: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Send pictures from several clients for some time, in a process of their own; return what came of it."""
    with multiprocessing.Pool(1) as pool:
        answers: dict[str, Any] = pool.apply(_send, (port, pictures, clients, seconds))
    return answers


def _send(port: int, pictures: list[bytes], clients: int, seconds: float) -> dict[str, Any]:
    statuses, latencies, health = Counter[str](), list[float](), list[float]()
    ends_s = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        at = number
        while time.perf_counter() < ends_s:
            at += 1
            started_s = time.perf_counter()
            try:
                connection.request("POST", "/predict", pictures[at % len(pictures)])
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                statuses[type(error).__name__] += 1
                connection.close()
                continue
            latencies.append(time.perf_counter() - started_s)
            statuses[str(response.status)] += 1

    def watch() -> None:
        while time.perf_counter() < ends_s:
            started_s = time.perf_counter()
            with contextlib.suppress(OSError):
                fetch(port, "/health")
                health.append(time.perf_counter() - started_s)
            time.sleep(0.2)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    threads.append(threading.Thread(target=watch))
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.perf_counter() - started_s
    return {
        "seconds": round(took_s, 1), "answers": dict(statuses), "pictures_per_s": round(statuses["200"] / took_s, 1),
        "latency_ms": {f"p{share}": round(float(np.percentile(latencies, share)) * 1000, 1) for share in (50, 95, 99)},
        "health_ms_at_most": round(max(health, default=float("nan")) * 1000, 1),
    }  # fmt: skip


def fetch(port: int, path: str) -> bytes:
    """Return a page of the service."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


@contextlib.contextmanager
def slow_clients(port: int, count: int) -> Iterator[list[float]]:
    """Open connections that send little and wait; yield a list of how long each was kept, filled at the end."""
    kept_s: list[float] = []
    started_s = time.perf_counter()

    def wait(sent: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(sent)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65536):
                    pass
        kept_s.append(time.perf_counter() - started_s)

    threads = [threading.Thread(target=wait, args=(SLOW[at % len(SLOW)],)) for at in range(count)]
    for thread in threads:
        thread.start()
    yield kept_s
    for thread in threads:
        thread.join()


def peak_mib(pid: int) -> int:
    """Return the most resident memory of a process in MiB."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) // 1024


if __name__ == "__main__":
    main()
