"""What the loads of the tracking benchmark are compared with: Ray's callback, a bare loop, a server that is away."""

from __future__ import annotations

import argparse
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from load_kit import STUDY, Calls
from load_server import Server, rss_mib, values_of

WORKERS = 4
MOST_POINTS = 1000
NOBODY = "http://127.0.0.1:9"


class _Trial:
    """As much of one of Tune's trials as the callback looks at."""

    config: ClassVar = {"learning_rate": 0.1}


def with_rays_callback(server: Server, asked: argparse.Namespace) -> dict[str, Any]:
    """Hand reports to Ray's own MLflow callback, which keeps whoever calls it until all is sent."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    callback = MLflowLoggerCallback(tracking_uri=server.address, experiment_name="callback")
    callback.setup()
    trial = _Trial()
    callback.log_trial_start(trial)
    before, calls = len(server.requests()), Calls()
    for epoch in range(1, asked.callback + 1):
        began = time.perf_counter()
        callback.log_trial_result(epoch, trial, {"training_iteration": epoch, **values_of(0, epoch, asked.metrics)})
        calls.spent_s.append(time.perf_counter() - began)
    requests = len(server.requests()) - before
    return {"reports": asked.callback, "requests_per_report": requests / asked.callback, "calls": calls.figures()}


def bare(server: Server, asked: argparse.Namespace) -> dict[str, float]:
    """Send full requests of points, as many at once as the server has workers, and nothing else: what it can take."""
    import mlflow
    from pydantic_core import to_json

    client = mlflow.MlflowClient(server.address)
    experiment = client.create_experiment("bare")
    runs = [client.create_run(experiment).info.run_id for _ in range(asked.trials)]
    epochs = MOST_POINTS // asked.metrics
    bodies = []
    for number, run in enumerate(runs):
        values = [(epoch, values_of(number, epoch, asked.metrics)) for epoch in range(1, epochs + 1)]
        points = [
            {"key": key, "value": value, "timestamp": 1_700_000_000_000 + epoch, "step": epoch}
            for epoch, metrics in values
            for key, value in metrics.items()
        ]
        bodies.append(to_json({"run_id": run, "metrics": points}))

    def post(body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.address}/api/2.0/mlflow/runs/log-batch", body, headers)
        with urllib.request.urlopen(request) as answer:
            answer.read()

    cpu_s, began = server.cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(post, bodies))
    spent_s, points_sent = time.perf_counter() - began, len(bodies) * epochs * asked.metrics
    return {
        "points": points_sent,
        "points_per_s": points_sent / spent_s,
        "server_cpu_us_per_point": 1e6 * (server.cpu_s() - cpu_s) / points_sent,
    }


def away(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Record as fast as possible while no server answers; return what that took of time and memory."""
    from recorders import Script

    from study.paths import Layout
    from tracking.exporter.recorder import OutboxRecorder

    layout, script, calls, memory = Layout(folder), Script(STUDY, planned=asked.trials), Calls(), []
    recorder = OutboxRecorder(layout.study(STUDY), NOBODY, apart=True)
    recorder.record(script.start())
    for number in range(asked.away):
        trial, epoch = number % asked.trials, number // asked.trials + 1
        if number < asked.trials:
            recorder.record(script.begin(trial))
        if number % (asked.away // 10) == 0:
            memory.append(rss_mib())
        event = script.report(trial, epoch, values_of(trial, epoch, asked.metrics))
        began = time.perf_counter()
        recorder.record(event)
        calls.spent_s.append(time.perf_counter() - began)
    memory.append(rss_mib())
    figures = {"reports": asked.away, "rss_mib": memory, "sender_rss_mib": rss_mib(recorder._exporter.pid)}
    recorder.close()
    outbox = layout.study(STUDY).outbox.stat().st_size / 2**20
    return {**figures, "waiting": recorder._reader.pending(), "outbox_mib": outbox, "calls": calls.figures()}
