"""Time the storage's operations at growing numbers of finished trials: TPE, ASHA, six parameters of every kind.

    python tests/benchmarks/storage_scale.py --finished 100 1000 10000

Prints JSON: the median time of an ask, of a report with the pruner's decision and of a tell at each number, on the
wall and of the processor, the time to open the storage, and the exponent with which the processor's time of each grows
between the first and the last number (0 does not grow; the whole of n trials takes n ** (1 + exponent)). Everything is
written and synced to disk as in a study.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from pathlib import Path

import optuna

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import SearchSpec
from study.config.search_space import Choice, Condition, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.paths import StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, TrialState
from study.storage.study_storage import StudyStorage

SPACE = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam", "adamw"))),
    Parameter(
        name="momentum",
        domain=Uniform(low=0.0, high=0.99),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
    Parameter(name="weight_decay", domain=Uniform(low=1e-6, high=1e-2, log=True)),
    Parameter(name="head_width", domain=Integer(low=32, high=1024, log=True)),
    Parameter(name="label_smoothing", domain=Uniform(low=0.0, high=0.3, step=0.01)),
)
AROUND = 50
"""Trials whose operations are timed at each number."""


class Clock:
    """Collects how long each kind of operation took, in ms: on the wall, and of the processor."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        self.start()

    def start(self) -> None:
        """Time from now on."""
        self._since_s = (time.perf_counter(), time.process_time())

    def note(self, kind: str) -> None:
        """Note the time since the last note or start."""
        now_s = (time.perf_counter(), time.process_time())
        for unit, since_s, at_s in zip(("ms", "cpu_ms"), self._since_s, now_s, strict=True):
            self.ms.setdefault(f"{kind}_{unit}", []).append((at_s - since_s) * 1000.0)
        self._since_s = now_s


def run_one(storage: StudyStorage, clock: Clock, epochs: int, chance: random.Random) -> None:
    """Take one trial from its start to its end."""
    clock.start()
    assignment = storage.ask()
    assert assignment is not None
    clock.note("ask")
    config = assignment.config
    good = 0.9 - 0.05 * abs(math.log10(config.learning_rate) + 2.5) - 0.1 * config.label_smoothing
    state, reason = TrialState.COMPLETE, StopReason.FINISHED
    for epoch in range(1, epochs + 1):
        value = good - 0.2 / epoch + chance.gauss(0.0, 0.01)
        clock.start()
        storage.report(assignment.trial, EpochMetrics(epoch, {"val_auc": value, "val_loss": 1.0 - value}), "best", 1.0)
        stopped = epoch < epochs and storage.should_prune(assignment.trial)
        clock.note("report")
        if stopped:
            state, reason = TrialState.PRUNED, StopReason.PRUNED
            break
    storage.tell(assignment.trial, state, reason)
    clock.note("tell")


def measure(folder: Path, numbers: list[int], epochs: int, sampler: str) -> dict[str, object]:
    """Run as many trials as the largest number and time those at each."""
    spec = StudySpec(
        name="scale",
        trial=Hyperparameters(max_epochs=epochs),
        space=SPACE,
        search=SearchSpec(sampler=sampler, trials=max(numbers) + AROUND),  # type: ignore[arg-type]
    )
    layout, chance = StudyLayout(folder), random.Random(0)
    data = DataSummary("faces", "f" * 64, 32, ("no", "yes"), {"train": 60, "val": 20})
    layout.root.mkdir(parents=True)
    storage = StudyStorage.create(layout, spec, "name: scale\n", data=data)
    rows, began_s = [], time.perf_counter()
    for number in range(max(numbers) + AROUND):
        if number in numbers:
            clock = Clock()
            opened_s = time.perf_counter()
            StudyStorage.open(layout)
            row = {"finished": number, "open_s": round(time.perf_counter() - opened_s, 3)}
        run_one(
            storage, clock if any(start <= number < start + AROUND for start in numbers) else Clock(), epochs, chance
        )
        if number - AROUND + 1 in numbers:
            rows.append({**row, **{kind: round(statistics.median(of), 3) for kind, of in clock.ms.items()}})
    return {
        "sampler": sampler,
        "epochs": epochs,
        "at": rows,
        "exponents": {kind: _exponent(rows, f"{kind}_cpu_ms") for kind in ("ask", "report", "tell")},
        "whole_s": round(time.perf_counter() - began_s, 1),
        "journal_bytes": layout.journal.stat().st_size,
        "counts": {state.value: count for state, count in storage.counts().items()},
    }


def _exponent(rows: list[dict[str, float]], kind: str) -> float | None:
    """Return the slope of time over number on log scales, fitted by least squares."""
    if len(rows) < 2:
        return None
    pairs = [(math.log(row["finished"]), math.log(row[kind])) for row in rows]
    return round(statistics.linear_regression(*zip(*pairs, strict=True)).slope, 3)


def main() -> None:
    """Measure as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--scratch", type=Path, help="where the storage lies; deleted again")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        print(
            json.dumps(measure(Path(folder) / "study", sorted(asked.finished), asked.epochs, asked.sampler), indent=1)
        )


if __name__ == "__main__":
    main()
