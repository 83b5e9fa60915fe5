"""Kill the driver of real studies at random moments until so many kills were made; check all invariants each time.

Run: python tests/benchmarks/crash_test.py [--kills 50] [--seed 0] [--shared-cluster] [--outage-s 600] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from crash_checks import Ended, check
from crash_kit import Blow, Driver, Tally, torment
from machine import commit_of, describe_machine
from outage_kit import Absence, Server, endure

from study.errors import StudyError
from study.records import TrialRecord

ABSENCES: tuple[Absence, ...] = ("gone", "hanging")
PACE_S = 0.25
CALM_TRIALS = 40
CALM_S = CALM_TRIALS * 6 * PACE_S
LAST_GOODBYE_S = 120.0
ROOT = Path(__file__).resolve().parents[2]
STUDY = """\
name: {name}
data: {{source: faces, image_size_px: 32, count: 60}}
trial: {{depth: 10, max_epochs: {epochs}, batch_size: 16}}
space:
  optimizer:     {{choice: [sgd, adam]}}
  momentum:      {{uniform: [0.0, 0.9], when: {{optimizer: sgd}}}}
  learning_rate: {{loguniform: [1e-3, 1e-2]}}
search: {{sampler: {sampler}, trials: {trials}, pruner: {pruner}, seed: 1}}
resources: {{cpus_per_trial: 1, gpus_per_trial: 0, max_concurrent_trials: {slots}}}
"""


@dataclass(frozen=True)
class Kind:
    """One kind of study; with one slot everything about it is determined, so an undisturbed run is the measure."""

    name: str
    sampler: str
    pruner: str
    slots: int
    trials: int = 4
    epochs: int = 3

    def write(self, folder: Path) -> Path:
        """Write its study file."""
        file = folder / f"{self.name}.yaml"
        file.write_text(STUDY.format_map(asdict(self)))
        return file


KINDS = (Kind("random", "random", "none", 1), Kind("asha", "tpe", "asha", 1), Kind("parallel", "tpe", "asha", 2))


@dataclass
class Course:
    """The whole test: kinds of studies by turns, each killed until it ends, until there were enough kills."""

    folder: Path
    kills: int
    rng: random.Random
    address: str | None
    tally: Tally
    drivers: list[Driver] = field(default_factory=list)

    def run(self) -> dict[str, float]:
        """Run it; return how long each kind takes undisturbed."""
        measures, lasts_s = {}, {}
        for kind in KINDS:
            began = time.monotonic()
            measures[kind] = self._end(kind, "undisturbed", 0.0)
            lasts_s[kind.name] = time.monotonic() - began
        turn = 0
        while self.tally.kills.total() < self.kills:
            kind, turn = KINDS[turn % len(KINDS)], turn + 1
            measure = measures[kind] if kind.slots == 1 else None
            self._end(kind, f"{turn:03d}", lasts_s[kind.name], measure)
            self._say(turn)
        self._part()
        return {name: round(spent, 1) for name, spent in lasts_s.items()}

    def _end(
        self, kind: Kind, turn: str, lasts_s: float, undisturbed: Sequence[TrialRecord] | None = None
    ) -> Sequence[TrialRecord]:
        """Bring one study to its end, disturbed if its duration is known, and check it."""
        results = self.folder / f"{kind.name}-{turn}"
        results.mkdir()

        def draw() -> Blow | None:
            enough = not lasts_s or self.tally.kills.total() >= self.kills
            return None if enough else Blow.draw(self.rng, lasts_s, kind.trials * kind.epochs)

        try:
            drivers = torment(kind.write(results), results, kind.name, draw, self.tally, self.address)
            self.drivers += drivers
            end = Ended.read(results, kind.name, drivers)
        except (AssertionError, StudyError) as fault:  # it did not come to its end, or cannot be read
            self.tally.failures.append(f"{results.name}: {fault}")
            return ()
        check(end, self.tally, undisturbed)
        return end.records

    def _part(self) -> None:
        """Wait for the last of Ray's processes."""
        until = time.monotonic() + LAST_GOODBYE_S
        while left := [pid for driver in self.drivers for pid in driver.session()]:
            if time.monotonic() > until:
                self.tally.failures.append(f"processes that stay: {left}")
                return
            time.sleep(1.0)

    def _say(self, turn: int) -> None:
        tally = self.tally
        print(
            f"{time.strftime('%H:%M:%S')} study {turn}: {tally.kills.total()} of {self.kills} kills "
            f"({dict(tally.kills)}), {tally.workers_killed} workers; failures: {tally.failures or 'none'}",
            flush=True,
        )


@contextmanager
def scratch(kept: Path | None) -> Iterator[str]:
    """Yield a folder for all studies, deleted afterwards unless it is to be kept."""
    if kept is not None:
        kept.mkdir(parents=True)
        yield str(kept)
        return
    with tempfile.TemporaryDirectory(prefix="crash-test-") as folder:
        yield folder


@contextmanager
def shared_cluster(wanted: bool) -> Iterator[str | None]:
    """Start one Ray cluster for all studies, whose workers import what trials need beforehand; yield its address."""
    if not wanted:
        yield None
        return
    from ray.cluster_utils import Cluster

    from study.engine.ray.cluster import RAY_ENVIRONMENT

    os.environ.update(RAY_ENVIRONMENT)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()


def outage(folder: Path, how: Absence, lasts_s: float) -> dict[str, Any]:
    """Take a tracking server away from a study that goes on; return what that cost."""
    (folder / how).mkdir()
    server = Server(folder / how)
    try:
        began = time.monotonic()
        return endure(
            folder / how / "results", server, how, lambda _: time.monotonic() - began > lasts_s + CALM_S,
            pause_s=PACE_S, calm_trials=CALM_TRIALS,
        )  # fmt: skip
    finally:
        server.stop()


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "crash_test.json")
    parser.add_argument("--shared-cluster", action="store_true", help="one Ray cluster for all; otherwise each its own")
    parser.add_argument("--outage-s", type=float, default=0.0, help="take a tracking server away for so long as well")
    parser.add_argument("--keep", type=Path, help="a new folder in which all studies stay; otherwise they are deleted")
    asked = parser.parse_args()
    tally, began = Tally(), time.monotonic()
    with scratch(asked.keep) as folder, shared_cluster(asked.shared_cluster) as address:
        os.environ.setdefault("STUDY_CACHE", f"{folder}/cache")
        undisturbed_s = Course(Path(folder), asked.kills, random.Random(asked.seed), address, tally).run()
        outages = [outage(Path(folder), how, asked.outage_s) for how in ABSENCES if asked.outage_s]
    summary = {
        "kills": tally.kills.total(),
        "kills_by_aim": dict(tally.kills),
        "kills_by_moment": dict(sorted(tally.states_hit.items())),
        "workers_killed": tally.workers_killed,
        "drivers_started": tally.drivers,
        "undisturbed_s": undisturbed_s,
        "invariants": {
            name: {"studies": count, "mean_s": round(tally.spent_s[name] / count, 3)}
            for name, count in tally.checked.items()
        },
        "failures": tally.failures,
        "outages": outages,
        "wall_s": round(time.monotonic() - began, 1),
        "seed": asked.seed,
        "shared_cluster": asked.shared_cluster,
        "commit": commit_of(ROOT),
        "machine": describe_machine(),
    }
    text = json.dumps(summary, indent=2)
    asked.out.write_text(text + "\n")
    print(text)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
