"""Run very many trials of one second of fake training: ours beside plain Tune, which is the machine's event limit.

Run: python tests/benchmarks/scale.py [--trials 10000] [--cpus 16] [--step-s 1] [--epochs 1] [--out FILE.json]

Logical CPUs are as many as asked for, since a fake step only sleeps. Ours is all a study has between a worker's report
and its next suggestion (searcher, pruner, storage on disk, Tune), with TPE, ASHA and nobody listening; plain is Tune's
own random search, of fewer trials if so asked: only its rate counts. Beside FILE.json a plot FILE.png shows what a
suggestion and a report cost.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import commit_of, cpu_clock_s, describe_machine

ROOT = Path(__file__).resolve().parents[2]
MARKS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
WINDOW = 50


@dataclass
class Clock:
    """What each call took, in seconds, with the number of trials that had ended before it."""

    suggestions: list[tuple[int, float]] = field(default_factory=list)
    reports: list[tuple[int, float]] = field(default_factory=list)
    rss_mib: list[tuple[int, float]] = field(default_factory=list)
    ended: int = 0
    last_at: float = 0.0

    def count(self) -> None:
        """Count one trial that ended, and watch memory now and then."""
        self.ended += 1
        self.last_at = time.perf_counter()
        if self.ended % 50 == 0:
            self.rss_mib.append((self.ended, rss_mib()))


def rss_mib() -> float:
    """Return this process's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def ray_session(cpus: int) -> None:
    """Start Ray with logical CPUs, as a study does, but for workers that would import torch beforehand."""
    from study.engine.ray.cluster import RAY_ENVIRONMENT

    quiet = {key: value for key, value in RAY_ENVIRONMENT.items() if key != "RAY_preload_python_modules"}
    os.environ.update(quiet)
    import ray

    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)


def make_stub(step_s: float, epochs: int) -> Any:
    """Make a trainable that sleeps and reports, one epoch a step."""
    from ray import tune

    class Stub(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._begin(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._begin(new_config)
            return True

        def step(self) -> dict[str, Any]:
            from study.engine.trial_result import TrialResult
            from study.records import EpochMetrics, StopReason

            time.sleep(step_s / epochs)
            self._epoch += 1
            ended = StopReason.FINISHED if self._epoch >= epochs else None
            value = self._quality * self._epoch / epochs
            metrics = EpochMetrics(self._epoch, {"val_auc": value, "train_loss": 1 - value, "epoch_s": step_s / epochs})
            return {
                "trial_result": TrialResult((metrics,), None, ended),
                "done": "number" not in self._given and bool(ended),
            }

        def _begin(self, config: dict[str, Any]) -> None:
            self._given, self._epoch = config, 0
            rate = config.get("trial", config)["learning_rate"]
            self._quality = 1 / (1 + abs(rate - 0.01) * 100)

    return Stub


def ours(asked: argparse.Namespace) -> dict[str, Any]:
    """Run a study of stubs; return wall clock, ideal, and what suggestions and reports cost."""
    from study.config.hyperparameters import Hyperparameters
    from study.config.search_config import SearchSpec
    from study.config.search_space import Choice, Condition, Parameter, Uniform
    from study.config.study_config import StudySpec
    from study.engine.ray.cluster import Slots
    from study.engine.ray.tuner import run_trials
    from study.engine.trial_controller import TrialController
    from study.engine.trial_result import TrialResult
    from study.paths import StudyLayout
    from study.records import DataSummary
    from study.storage.lock import driver_lock
    from study.storage.study_storage import StudyStorage
    from study.trials.serialization import Assignment

    clock = Clock()

    class Timed(TrialController):
        def next_assignment(self) -> Assignment | None:
            began = time.perf_counter()
            assignment = super().next_assignment()
            if assignment is not None:
                clock.suggestions.append((clock.ended, time.perf_counter() - began))
            return assignment

        def on_trial_result(self, trial: int, report: TrialResult) -> bool:
            began = time.perf_counter()
            leaves = super().on_trial_result(trial, report)
            clock.reports.append((clock.ended, time.perf_counter() - began))
            if leaves:
                clock.count()
            return leaves

    sgd = Condition(parameter="optimizer", values=("sgd",))
    space = (
        Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
        Parameter(name="momentum", domain=Uniform(low=0.0, high=0.99), when=(sgd,)),
        Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
        Parameter(name="weight_decay", domain=Uniform(low=1e-6, high=1e-2, log=True)),
    )
    search = SearchSpec(sampler="tpe", pruner="asha", trials=asked.trials)
    spec = StudySpec(name="scale", trial=Hyperparameters(max_epochs=asked.epochs), space=space, search=search)
    data = DataSummary("faces", "f" * 64, 32, ("no", "yes"), {"train": 60, "val": 20})
    with tempfile.TemporaryDirectory(prefix="scale-", dir=asked.scratch) as folder:
        layout = StudyLayout(Path(folder) / "study")
        with driver_lock(layout):
            storage = StudyStorage.create(layout, spec, "name: scale\n", data=data)
            controller = Timed(storage, layout, Silence())
            before_mib, began, cpu_s = rss_mib(), time.perf_counter(), time.process_time()
            run_trials(controller, layout, make_stub(asked.step_s, asked.epochs), Slots(1, 0.0, asked.cpus))
            over_at, cpu_s = time.perf_counter(), time.process_time() - cpu_s
            controller.raise_captured()
            records = storage.records()
        assert len(records) == asked.trials
        assert all(record.state.is_finished for record in records)
        steps = sum(record.epochs_run for record in records)
        journal = layout.journal.stat().st_size
    return {
        "wall_s": over_at - began,
        "after_the_last_trial_s": over_at - clock.last_at,
        "ideal_s": steps * asked.step_s / asked.epochs / asked.cpus,
        "driver_cpu_s": cpu_s,
        "steps": steps,
        "pruned": sum(record.state.value == "PRUNED" for record in records),
        "journal_mib": journal / 2**20,
        "rss_mib": {0: before_mib, **_at_marks(clock.rss_mib, window=1)},
        "suggestion_ms": _in_ms(_at_marks(clock.suggestions)),
        "report_ms": _in_ms(_at_marks(clock.reports)),
        "suggestions_s": sum(spent for _, spent in clock.suggestions),
        "reports_s": sum(spent for _, spent in clock.reports),
        "curve": {kind: _thinned(getattr(clock, kind)) for kind in ("suggestions", "reports", "rss_mib")},
    }


class Silence:
    """A recorder of nothing."""

    def record(self, event: object) -> None:
        """Hear nothing."""

    def catch_up(self, records: object, at_s: float, reports: object) -> None:
        """Hear nothing."""

    def close(self) -> None:
        """Keep nothing."""


def plain(asked: argparse.Namespace) -> dict[str, Any]:
    """Run as many trials of the same stub under Tune alone."""
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    with tempfile.TemporaryDirectory(prefix="scale-", dir=asked.scratch) as folder:
        tuner = tune.Tuner(
            tune.with_resources(make_stub(asked.step_s, asked.epochs), {"CPU": 1}),
            param_space={"learning_rate": tune.loguniform(1e-4, 1e-1)},
            tune_config=tune.TuneConfig(scheduler=FIFOScheduler(), num_samples=asked.trials, reuse_actors=True),
            run_config=tune.RunConfig(
                name="plain",
                storage_path=folder,
                verbose=0,
                log_to_file=False,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        before_mib, began, cpu_s = rss_mib(), time.perf_counter(), time.process_time()
        grid = tuner.fit()
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        assert len(grid) == asked.trials
        assert not grid.errors
    ideal_s = asked.trials * asked.step_s / asked.cpus
    rss = {0: before_mib, asked.trials: rss_mib()}
    return {"trials": asked.trials, "wall_s": wall_s, "ideal_s": ideal_s, "driver_cpu_s": cpu_s, "rss_mib": rss}


def _at_marks(pairs: list[tuple[int, float]], window: int = WINDOW) -> dict[int, float]:
    """Return the median over the last so many samples before each mark."""
    last = max((at for at, _ in pairs), default=0)
    medians = {}
    for mark in [reached for reached in MARKS if reached <= 1.1 * last]:
        near = [spent for at, spent in pairs if at <= mark][-window:]
        medians[mark] = statistics.median(near) if near else 0.0
    return medians


def _in_ms(seconds: dict[int, float]) -> dict[int, float]:
    return {mark: round(1000 * median, 3) for mark, median in seconds.items()}


def _thinned(pairs: list[tuple[int, float]], points: int = 200) -> list[tuple[int, float]]:
    """Return medians over consecutive calls, few enough to draw."""
    size = max(1, len(pairs) // points)
    parts = [pairs[at : at + size] for at in range(0, len(pairs), size)]
    return [(part[-1][0], round(statistics.median(value for _, value in part), 6)) for part in parts]


def in_a_process(way: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one way in a process of its own, so that memory and caches are its own."""
    trials = asked.plain_trials or asked.trials if way == "plain" else asked.trials
    options = ["--trials", trials, "--cpus", asked.cpus, "--step-s", asked.step_s, "--epochs", asked.epochs]
    scratch = ["--scratch", asked.scratch] if asked.scratch else []
    command = [sys.executable, __file__, "--way", way, *map(str, options), *map(str, scratch)]
    busy_s = cpu_clock_s()[0]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return {
        **figures,
        "over_ideal": figures["wall_s"] / figures["ideal_s"],
        "machine_busy_core_s": cpu_clock_s()[0] - busy_s,
    }


def draw(curve: dict[str, list[tuple[int, float]]], file: Path) -> None:
    """Plot what a suggestion and a report cost, and the driver's memory, over the number of ended trials."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (times, memory) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for kind in ("suggestions", "reports"):
        times.plot(*zip(*((at, 1000 * value) for at, value in curve[kind]), strict=True), label=f"one of the {kind}")
    times.set(xlabel="ended trials", ylabel="ms", ylim=(0, None), title="what one call costs the driver")
    times.legend()
    memory.plot(*zip(*curve["rss_mib"], strict=True))
    memory.set(xlabel="ended trials", ylabel="MiB", ylim=(0, None), title="memory of the driver")
    figure.savefig(file, dpi=110)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--plain-trials", type=int, help="how many plain Tune runs; as many if not given")
    parser.add_argument("--cpus", type=int, default=16)
    parser.add_argument("--step-s", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=1, help="into how many reports the time of a trial is cut")
    parser.add_argument("--way", choices=("both", "ours", "plain"), default="both")
    parser.add_argument("--scratch", type=Path, help="where studies and Tune's files lie; deleted again")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "scale.json")
    asked = parser.parse_args()
    if asked.way != "both":
        ray_session(asked.cpus)
        print(json.dumps({"ours": ours, "plain": plain}[asked.way](asked)))
        return
    figures = {way: in_a_process(way, asked) for way in ("plain", "ours")}
    draw(figures["ours"].pop("curve"), asked.out.with_suffix(".png"))
    settings = {"trials": asked.trials, "cpus": asked.cpus, "step_s": asked.step_s, "epochs": asked.epochs}
    text = json.dumps({**settings, **figures, "commit": commit_of(ROOT), "machine": describe_machine()}, indent=2)
    asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
