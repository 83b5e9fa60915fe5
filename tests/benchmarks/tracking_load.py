"""Load the tracker: many trials that report often, against a real MLflow server on sqlite, beside no tracking at all.

Run: python tests/benchmarks/tracking_load.py [--trials 96] [--rate 10] [--metrics 30] [--seconds 30] [--repeats 3]
     [--loads events engine study] [--ways off on thread] [--out FILE.json]

Every load is ``trials`` trials that each report ``rate`` times a second for ``seconds``. ``events`` hands the reports
to the recorder alone, at the moment each is due; ``engine`` to the controller, which stores them first, as fast
as it takes them where that is slower; ``study`` has a Ray worker for each trial, without torch, and Tune between.
The way ``off`` has no tracker, ``on`` a process of its own that sends, as a study has it, ``thread`` a thread of the
driver instead. Ways take turns. After each run the server's database must have every point once. Besides: what a
report costs with Ray's own callback, the memory of the driver while the server is away, and how many points the server
takes from a bare loop, which no sender can be quicker than.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from load_kit import LOADS, ROOT
from load_limits import away, bare, with_rays_callback
from load_server import Server, check_stored
from machine import busy_cores, commit_of, describe_machine


def one_run(asked: argparse.Namespace) -> dict[str, Any]:
    """Run one load in one way; return its figures."""
    with tempfile.TemporaryDirectory(prefix="tracking-load-", dir=asked.scratch) as folder:
        return LOADS[asked.load](asked, Path(folder))


def in_a_process(load: str, way: str, asked: argparse.Namespace, address: str) -> dict[str, Any]:
    """Run one load in one way in a process of its own."""
    options = ["--trials", asked.trials, "--rate", asked.rate, "--metrics", asked.metrics, "--seconds", asked.seconds]
    scratch = ["--scratch", asked.scratch] if asked.scratch else []
    command = [sys.executable, __file__, "--load", load, "--way", way, "--address", address, *options, *scratch]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    # Ray's own words may come after ours.
    figures: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines()[::-1] if line.startswith("{")))
    return figures


def measured(load: str, way: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one load in one way against a fresh server, and check what the server has."""
    with tempfile.TemporaryDirectory(prefix="tracking-load-", dir=asked.scratch) as folder:
        busy = busy_cores()
        with Server(Path(folder)) as server:
            figures = in_a_process(load, way, asked, server.address)
            if way != "off":
                figures |= server.figures(asked.trials * asked.rate * asked.seconds)
                figures["points_stored"] = check_stored(server, asked)
    figures["other_programs_cores_before"] = round(busy, 2)
    print(load, way, json.dumps(figures), file=sys.stderr, flush=True)
    return figures


def compared(load: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run one load in all ways by turns; return every run, and what the ways come to beside ``off``."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in asked.ways}
    for turn in range(asked.repeats):
        for way in asked.ways if turn % 2 == 0 else reversed(asked.ways):
            runs[way].append(measured(load, way, asked))
    medians = {way: statistics.median(run["wall_s"] for run in each) for way, each in runs.items()}
    off = runs.get("off", [])
    pairs = {way: [timed["wall_s"] / no["wall_s"] for timed, no in zip(runs[way], off, strict=False)] for way in runs}
    drains = {way: statistics.median(run["drain_s"] for run in each) for way, each in runs.items() if way != "off"}
    return {
        "median_wall_s": medians,
        "over_off": {way: medians[way] / medians["off"] for way in medians if "off" in medians and way != "off"},
        "over_off_by_turn": {way: ratios for way, ratios in pairs.items() if way != "off"},
        "median_drain_s": drains,
        "runs": runs,
    }


def arguments() -> argparse.ArgumentParser:
    """Return what can be asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--rate", type=int, default=10, help="reports of each trial in a second")
    parser.add_argument("--metrics", type=int, default=30)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loads", nargs="*", choices=LOADS, default=list(LOADS))
    parser.add_argument("--ways", nargs="+", choices=("off", "on", "thread"), default=["off", "on"])
    parser.add_argument("--away", type=int, default=100_000, help="reports while the server is away; 0 for none")
    parser.add_argument("--callback", type=int, default=20, help="reports through Ray's callback; 0 for none")
    parser.add_argument("--load", choices=LOADS, help="run one in this process")
    parser.add_argument("--way", default="on", help="of the one")
    parser.add_argument("--address", help="of the server for the one")
    parser.add_argument("--scratch", type=Path, help="where studies and databases lie; deleted again")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "tracking_load.json")
    return parser


def main() -> None:
    """Run it."""
    asked = arguments().parse_args()
    if asked.load:
        print(json.dumps(one_run(asked)))
        return
    figures: dict[str, Any] = {name: getattr(asked, name) for name in ("trials", "rate", "metrics", "seconds")}
    figures |= {load: compared(load, asked) for load in asked.loads}
    with tempfile.TemporaryDirectory(prefix="tracking-load-", dir=asked.scratch) as folder:
        with Server(Path(folder) / "bare") as server:
            figures["bare"] = bare(server, asked)
        if asked.callback:
            with Server(Path(folder) / "server") as server:
                figures["rays_callback"] = with_rays_callback(server, asked)
        if asked.away:
            figures["server_away"] = away(asked, Path(folder))
    text = json.dumps({**figures, "commit": commit_of(ROOT), "machine": describe_machine()}, indent=2)
    asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
