"""Measure how long it takes from the command to the first optimizer step: the plain way against `study run`.

Run: python tests/benchmarks/startup.py [--repeats 3] [--out FILE.json]

Both ways start two trials of ResNet-18 at 64 px in fresh processes, by turns; a hook of torch's that both load notes
the time of the first step, and the way is ended there. The images of `study` are in its cache, which a first run that
is not counted fills; the plain way reads its JPEG files, as it always does. MLflow's database is new each time.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from compare_ways import DEFAULT_FOLDER, HERE, IMAGES, ROOT, clean_environment, make_data, parser_of, session
from machine import busy_cores, commit_of, describe_machine

LIMIT_S = 120
IDLE_CORES = 0.1
IDLE_LIMIT_S = 30
POLL_S = 0.02


def command_of(way: str, data: Path, results: Path) -> list[str]:
    """Return the command that a person would give."""
    if way == "plain":
        options = ["--data", data, "--results", results, "--limit", "2"]
        return [sys.executable, str(HERE / "plain_way.py"), *map(str, options)]
    options = [HERE / "study_way.yaml", "--trials", "2", "--set", f"data.path={data}", "--results", results]
    return [sys.executable, "-m", "cli", "run", *map(str, options)]


def seconds_to_first_step(way: str, data: Path, work: Path) -> float:
    """Start a way, wait for its first optimizer step, end it, and return the seconds."""
    folder = work / f"startup-{way}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker = folder / "first_step"
    paths = os.pathsep.join((str(HERE / "first_step"), str(ROOT)))
    env = {**clean_environment(work / "startup-cache"), "FIRST_STEP_FILE": str(marker), "PYTHONPATH": paths}
    started = time.time()
    try:
        with session(command_of(way, data, folder / "results"), work / f"startup-{way}.log", env) as process:
            while not (marker.exists() and marker.read_text()):
                if process.poll() is not None or time.time() > started + LIMIT_S:
                    raise SystemExit(f"the {way} way made no step within {LIMIT_S} s; see {work}/startup-{way}.log")
                time.sleep(POLL_S)
            raise InterruptedError  # enough is known: the session ends what it started
    except InterruptedError:
        return float(marker.read_text()) - started


def wait_until_idle() -> float:
    """Wait until what an ended run left has ended too, within limits; return how many cores are still busy."""
    give_up_s = time.monotonic() + IDLE_LIMIT_S
    while (busy := busy_cores(1.0)) > IDLE_CORES and time.monotonic() < give_up_s:
        pass
    return round(busy, 2)


def main() -> None:
    """Run both ways by turns."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "startup.json")
    args = parser.parse_args()
    if args.data is None:
        args.data = DEFAULT_FOLDER / "data"
        make_data(args.data, IMAGES)
    data, work = args.data.resolve(), args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    # Bring the libraries' files into memory, and the images into the cache of `study`.
    subprocess.run([sys.executable, "-c", "import mlflow, optuna, ray.tune, sklearn.metrics, torchvision"], check=True)
    seconds_to_first_step("study", data, work)
    times: dict[str, list[float]] = {way: [] for way in args.ways}
    busy: list[float] = []
    for repeat in range(args.repeats):
        for way in args.ways if repeat % 2 == 0 else args.ways[::-1]:
            busy.append(wait_until_idle())
            times[way].append(round(seconds_to_first_step(way, data, work), 2))
            print(f"{way} {repeat}: {times[way][-1]:.1f} s", file=sys.stderr, flush=True)
    report = {
        "machine": describe_machine(),
        "commit": commit_of(ROOT),
        "busy_cores_before": busy,
        "first_step_s": times,
        "median_s": {way: statistics.median(own) for way, own in times.items()},
    }
    if len(times) > 1:
        report["ratios"] = [round(a / b, 2) for a, b in zip(times["plain"], times["study"], strict=True)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
