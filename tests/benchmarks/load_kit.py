"""The loads of the tracking benchmark."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from load_server import cpu_s_of, rss_mib, values_of  # noqa: E402
from scale import Silence  # noqa: E402

STUDY = "load"
CLOSE_TIMEOUT_S = 1800.0


@contextmanager
def tracked(asked: argparse.Namespace, folder: Path, figures: dict[str, Any]) -> Iterator[Any]:
    """Open the recorder of a way; close it at the end and note what that took."""
    from study.paths import Layout
    from tracking.exporter.recorder import OutboxRecorder

    if asked.way == "off":
        yield Silence()
        return
    layout = Layout(folder)
    recorder = OutboxRecorder(
        layout.study(STUDY), asked.address, apart=asked.way == "on", close_timeout_s=CLOSE_TIMEOUT_S
    )
    yield recorder
    figures["waiting_at_the_end"] = recorder._reader.pending()
    if pid := getattr(recorder._exporter, "pid", None):
        figures |= {"sender_rss_mib": rss_mib(pid), "sender_cpu_s": cpu_s_of(pid)}
    began = time.perf_counter()
    recorder.close()
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


def make_storage(asked: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """Begin a study of that many trials whose points are drawn at random and never pruned."""
    from engine_fakes import make_spec
    from engine_fakes import make_storage as make

    from study.paths import Layout

    spec = make_spec(asked.trials, epochs=asked.rate * asked.seconds, pruner="none")
    layout = Layout(folder).study(STUDY)
    return make(layout.root, spec.model_copy(update={"name": STUDY}))


def engine(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Hand the reports to the controller."""
    from engine_fakes import started

    from study.engine.trial_controller import TrialController
    from study.engine.trial_result import TrialResult
    from study.records import EpochMetrics, StopReason
    from study.storage.lock import driver_lock

    storage, layout = make_storage(asked, folder)
    last, figures = asked.rate * asked.seconds, {}

    def on_trial_result(trial: int, epoch: int) -> None:
        metrics = EpochMetrics(epoch, values_of(trial, epoch, asked.metrics))
        controller.on_trial_result(trial, TrialResult((metrics,), None, StopReason.FINISHED if epoch == last else None))

    with driver_lock(layout), tracked(asked, folder, figures) as recorder:
        controller = TrialController(storage, layout, recorder)
        before = rss_mib()
        began, cpu_s = time.perf_counter(), time.process_time()
        controller.start_session(started(storage, resumed=False))
        while (assignment := controller.next_assignment()) is not None:
            controller.on_trial_started(assignment.trial)
        calls = all_at_pace(asked, on_trial_result)
        controller.end_session()
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
            from study.engine.trial_result import TrialResult
            from study.records import EpochMetrics, StopReason

            while not self._due_s and len(list(arrivals.iterdir())) < trials:
                time.sleep(0.5)
            self._due_s = max(self._due_s + 1 / rate, time.perf_counter() - 1 / rate)
            time.sleep(max(0.0, self._due_s - time.perf_counter()))
            self._epoch += 1
            metrics = EpochMetrics(self._epoch, metrics_of(self._number, self._epoch, count))
            return {"trial_result": TrialResult((metrics,), None, StopReason.FINISHED if self._epoch >= last else None)}

    return Stub


def study(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run a study under Ray."""
    from engine_fakes import started
    from scale import ray_session

    from study.engine.ray.cluster import Slots
    from study.engine.ray.tuner import run_trials
    from study.engine.trial_controller import TrialController
    from study.engine.trial_result import TrialResult
    from study.storage.lock import driver_lock

    calls, at_s, cpu_s, figures = Calls(), [], [], {}

    class Timed(TrialController):
        def on_trial_result(self, trial: int, report: TrialResult) -> bool:
            began = time.perf_counter()
            cpu_s.append(time.process_time())
            leaves = super().on_trial_result(trial, report)
            at_s.append(time.perf_counter())
            calls.spent_s.append(at_s[-1] - began)
            return leaves

    storage, layout = make_storage(asked, folder)
    arrivals = folder / "arrivals"
    arrivals.mkdir()
    ray_session(asked.trials)
    with driver_lock(layout), tracked(asked, folder, figures) as recorder:
        controller = Timed(storage, layout, recorder)
        before = rss_mib()
        controller.start_session(started(storage, resumed=False))
        run_trials(controller, layout, make_stub(asked, arrivals), Slots(1, 0.0, asked.trials))
        controller.raise_captured()
        controller.end_session()
        # Starting the workers takes longer than the rest, and differs more from time to time.
        figures |= {"wall_s": time.perf_counter() - at_s[0], "driver_cpu_s": time.process_time() - cpu_s[0]}
        figures |= {"calls": calls.figures(), "rss_mib": [before, rss_mib()]}
        figures["reports_per_s"] = len(at_s) / (at_s[-1] - at_s[0])
    return figures


LOADS = {"events": events, "engine": engine, "study": study}
