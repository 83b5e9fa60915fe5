"""The loads of the tracking benchmark, and what they are compared with."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from load_server import Server, cpu_s_of, rss_mib, values_of  # noqa: E402
from scale import Silence  # noqa: E402

STUDY = "load"
CLOSE_TIMEOUT_S = 1800.0
WORKERS = 4
MOST_POINTS = 1000
NOBODY = "http://127.0.0.1:9"


@contextmanager
def tracked(asked: argparse.Namespace, folder: Path, figures: dict[str, Any]) -> Iterator[Any]:
    """Open the recorder of a way; close it at the end and note what that took."""
    from study.layout import Layout
    from tracking.sending.recorder import open_recorder

    if asked.way == "off":
        yield Silence()
        return
    layout = Layout(folder)
    recorder = open_recorder(layout, layout.study(STUDY), asked.address, apart=asked.way == "on")
    yield recorder
    figures["waiting_at_the_end"] = recorder._drain.pending()
    if pid := getattr(recorder._sender, "pid", None):
        figures |= {"sender_rss_mib": rss_mib(pid), "sender_cpu_s": cpu_s_of(pid)}
    began = time.perf_counter()
    recorder.close(CLOSE_TIMEOUT_S)
    figures["drain_s"] = time.perf_counter() - began
    figures["outbox_mib"] = layout.study(STUDY).outbox.stat().st_size / 2**20


@dataclass
class Calls:
    """What each call took, and how late the calls came."""

    spent_s: list[float] = field(default_factory=list)
    late_s: float = 0.0

    def pace(self, due_s: float) -> None:
        """Wait for the moment a call is due."""
        left_s = due_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
        self.late_s = max(self.late_s, -left_s)

    def figures(self) -> dict[str, float]:
        """Return the usual and the longest."""
        ordered = sorted(self.spent_s)
        return {
            "median_ms": 1000 * statistics.median(ordered),
            "p99_ms": 1000 * ordered[int(0.99 * len(ordered))],
            "longest_ms": 1000 * ordered[-1],
            "sum_s": sum(ordered),
            "latest_by_s": self.late_s,
        }


def all_at_pace(asked: argparse.Namespace, call: Callable[[int, int], object]) -> Calls:
    """Call for every trial and epoch, each at the moment it is due."""
    calls, begin = Calls(), time.perf_counter()
    for epoch in range(1, asked.rate * asked.seconds + 1):
        for trial in range(asked.trials):
            calls.pace(begin + (epoch - 1 + trial / asked.trials) / asked.rate)
            at = time.perf_counter()
            call(trial, epoch)
            calls.spent_s.append(time.perf_counter() - at)
    return calls


def events(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Hand the reports to the recorder alone."""
    from recorders import Script

    script, figures = Script(STUDY, planned=asked.trials), {}

    def report(trial: int, epoch: int) -> None:
        recorder.record(script.report(trial, epoch, values_of(trial, epoch, asked.metrics)))

    with tracked(asked, folder, figures) as recorder:
        before = rss_mib()
        began, cpu_s = time.perf_counter(), time.process_time()
        recorder.record(script.start())
        for trial in range(asked.trials):
            recorder.record(script.begin(trial))
        calls = all_at_pace(asked, report)
        for trial in range(asked.trials):
            recorder.record(script.finish(trial, epochs=asked.rate * asked.seconds))
        recorder.record(script.end())
        figures |= {"wall_s": time.perf_counter() - began, "driver_cpu_s": time.process_time() - cpu_s}
        figures |= {"calls": calls.figures(), "rss_mib": [before, rss_mib()]}
    return figures


def make_ledger(asked: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """Begin a study of that many trials whose points are drawn at random and never pruned."""
    from engine_fakes import make_ledger as make
    from engine_fakes import make_spec

    from study.layout import Layout

    spec = make_spec(asked.trials, epochs=asked.rate * asked.seconds, pruner="none")
    layout = Layout(folder).study(STUDY)
    return make(layout.root, spec.model_copy(update={"name": STUDY}))


def engine(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Hand the reports to the conductor."""
    from engine_fakes import started

    from study.engine.conductor import Conductor
    from study.engine.report import TrialReport
    from study.ledger import driver_lock
    from study.records import EpochMetrics, StopReason

    ledger, layout = make_ledger(asked, folder)
    last, figures = asked.rate * asked.seconds, {}

    def ingest(trial: int, epoch: int) -> None:
        metrics = EpochMetrics(epoch, values_of(trial, epoch, asked.metrics))
        conductor.ingest(trial, TrialReport((metrics,), None, StopReason.FINISHED if epoch == last else None))

    with driver_lock(layout), tracked(asked, folder, figures) as recorder:
        conductor = Conductor(ledger, layout, recorder)
        before = rss_mib()
        began, cpu_s = time.perf_counter(), time.process_time()
        conductor.begin(started(ledger, resumed=False))
        while (assignment := conductor.next_assignment()) is not None:
            conductor.place(assignment.trial)
        calls = all_at_pace(asked, ingest)
        conductor.end()
        figures |= {"wall_s": time.perf_counter() - began, "driver_cpu_s": time.process_time() - cpu_s}
        figures |= {"calls": calls.figures(), "rss_mib": [before, rss_mib()]}
    return figures


def make_stub(asked: argparse.Namespace, arrivals: Path) -> Any:
    """Make a trainable that reports at a pace, once all of them have come, and does nothing else."""
    from ray import tune

    trials, rate, last, count = asked.trials, asked.rate, asked.rate * asked.seconds, asked.metrics
    metrics_of = values_of

    class Stub(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._number, self._epoch, self._due_s = config["number"], 0, 0.0
            (arrivals / str(self._number)).touch()

        def step(self) -> dict[str, Any]:
            from study.engine.report import TrialReport
            from study.records import EpochMetrics, StopReason

            while not self._due_s and len(list(arrivals.iterdir())) < trials:
                time.sleep(0.5)
            self._due_s = max(self._due_s + 1 / rate, time.perf_counter() - 1 / rate)
            time.sleep(max(0.0, self._due_s - time.perf_counter()))
            self._epoch += 1
            metrics = EpochMetrics(self._epoch, metrics_of(self._number, self._epoch, count))
            return {"report": TrialReport((metrics,), None, StopReason.FINISHED if self._epoch >= last else None)}

    return Stub


def study(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run a study under Ray."""
    from engine_fakes import started
    from scale import ray_session

    from study.engine.cluster import Slots
    from study.engine.conductor import Conductor
    from study.engine.report import TrialReport
    from study.engine.tuning import run_trials
    from study.ledger import driver_lock

    calls, at_s, cpu_s, figures = Calls(), [], [], {}

    class Timed(Conductor):
        def ingest(self, trial: int, report: TrialReport) -> bool:
            began = time.perf_counter()
            cpu_s.append(time.process_time())
            leaves = super().ingest(trial, report)
            at_s.append(time.perf_counter())
            calls.spent_s.append(at_s[-1] - began)
            return leaves

    ledger, layout = make_ledger(asked, folder)
    arrivals = folder / "arrivals"
    arrivals.mkdir()
    ray_session(asked.trials)
    with driver_lock(layout), tracked(asked, folder, figures) as recorder:
        conductor = Timed(ledger, layout, recorder)
        before = rss_mib()
        conductor.begin(started(ledger, resumed=False))
        run_trials(conductor, layout, make_stub(asked, arrivals), Slots(1, 0.0, asked.trials))
        conductor.raise_fault()
        conductor.end()
        # Starting the workers takes longer than the rest, and differs more from time to time.
        figures |= {"wall_s": time.perf_counter() - at_s[0], "driver_cpu_s": time.process_time() - cpu_s[0]}
        figures |= {"calls": calls.figures(), "rss_mib": [before, rss_mib()]}
        figures["reports_per_s"] = len(at_s) / (at_s[-1] - at_s[0])
    return figures


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
            for epoch, found in values
            for key, value in found.items()
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

    from study.layout import Layout
    from tracking.sending.recorder import open_recorder

    layout, script, calls, memory = Layout(folder), Script(STUDY, planned=asked.trials), Calls(), []
    recorder = open_recorder(layout, layout.study(STUDY), NOBODY, apart=True)
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
    found = {"reports": asked.away, "rss_mib": memory, "sender_rss_mib": rss_mib(recorder._sender.pid)}
    recorder.close(0.0)
    outbox = layout.study(STUDY).outbox.stat().st_size / 2**20
    return {**found, "waiting": recorder._drain.pending(), "outbox_mib": outbox, "calls": calls.figures()}


LOADS = {"events": events, "engine": engine, "study": study}
