"""Measure what the images of a study cost a node in memory, while several trials train on them at once.

Run: python tests/benchmarks/node_memory.py [--trials 8] [--images 20000] [--size 112] [--out FILE.json]

The same study runs on few and on many images; the difference of the memory is that of the images. Memory is the sum of
the proportional set sizes (smaps_rollup) of the driver and of all that it started, Ray's object store among them, once
every worker has trained for a while: a page that several processes share counts once. As many trials run at once as
are asked for, however few cores there are. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
from machine import commit_of, describe_machine
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
FEW_IMAGES = 200
START_LIMIT_S = 300
WORKER = "ray::"


def main() -> None:
    """Measure both studies and write what they take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument(
        "--busy-s", type=float, default=15, help="CPU time of each worker before its memory is measured"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "node_memory.json")
    parser.add_argument("--study", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.study:
        run_study(options.study, options.trials, options.size)
        return
    rows = {name: measure(options, images) for name, images in (("few", FEW_IMAGES), ("many", options.images))}
    one_copy_mib = (options.images - FEW_IMAGES) * options.size**2 * 3 / MIB
    taken_mib = rows["many"]["all_mib"] - rows["few"]["all_mib"]
    report = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "trials": options.trials, "images": options.images,
        "image_size_px": options.size, "pss": rows, "one_copy_mib": round(one_copy_mib),
        "taken_mib": round(taken_mib), "copies": round(taken_mib / one_copy_mib, 2),
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def measure(options: argparse.Namespace, images: int) -> dict[str, float]:
    """Return the memory of the driver, the workers and the rest, in MiB, of a study on so many images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "data", images, options.size)
        command = [sys.executable, __file__, "--study", str(folder), "--trials", str(options.trials)]
        with (folder / "log").open("wb") as log:
            driver = subprocess.Popen(
                [*command, "--size", str(options.size)], stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until_busy(driver, options.trials, options.busy_s, folder / "log")
            return memory_of(driver.pid)
        finally:
            end(driver)


def write_images(folder: Path, count: int, size: int) -> None:
    """Write coarse random pictures of two classes."""
    rng = np.random.default_rng(0)
    for label in ("off", "on"):
        (folder / label).mkdir(parents=True)
    for number in range(count):
        cells = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        picture = Image.fromarray(cells).resize((size, size), Image.Resampling.NEAREST)
        picture.save(folder / ("off", "on")[number % 2] / f"{number}.bmp")


def run_study(folder: Path, trials: int, size: int) -> None:
    """Run the study that is measured, in this process."""
    from cli.main import app

    (folder / "memory.yaml").write_text(
        f"""name: memory
objective: {{metric: val_auc, mode: max}}
data: {{source: folder, path: {folder / "data"}, image_size_px: {size}, fractions: [0.8, 0.19, 0.01]}}
trial: {{depth: 10, init: kaiming, batch_size: 8, max_epochs: 1000, augmentation: flip}}
space: {{learning_rate: {{loguniform: [1e-4, 1e-3]}}}}
search: {{sampler: random, trials: {trials}, pruner: none}}
resources: {{cpus_per_trial: 1, gpus_per_trial: 0}}
"""
    )
    os.environ["STUDY_CACHE"] = str(folder / "cache")
    with mock.patch("study.engine.ray.cluster.available_cores", return_value=trials):
        app(["run", str(folder / "memory.yaml"), "--results", str(folder / "results")])


def wait_until_busy(driver: subprocess.Popen[bytes], trials: int, busy_s: float, log: Path) -> None:
    """Wait until every worker has used so much CPU time; the first seconds are imports."""
    until = time.monotonic() + START_LIMIT_S + 2 * trials * busy_s
    while sum(cpu_s(pid) >= busy_s for pid in descendants(driver.pid) if is_trial(pid)) < trials:
        if driver.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the study did not get {trials} busy workers:\n{log.read_text()[-2000:]}")
        time.sleep(1)


def memory_of(driver: int) -> dict[str, float]:
    """Return the proportional set sizes by kind of process, in MiB."""
    sizes = {"driver_mib": pss_mib(driver), "workers_mib": 0.0, "ray_mib": 0.0}
    for pid in descendants(driver):
        sizes["workers_mib" if is_trial(pid) else "ray_mib"] += pss_mib(pid)
    return {name: round(size) for name, size in {**sizes, "all_mib": sum(sizes.values())}.items()}


def descendants(root: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sorted(family - {root})


def is_trial(pid: int) -> bool:
    """Whether a process trains a trial, by the title that Ray gives it."""
    title = _read(pid, "cmdline")
    return title.startswith(WORKER) and "Trainable" in title


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process."""
    lines = (line.split() for line in _read(pid, "smaps_rollup").splitlines())
    return next((int(line[1]) / 1024 for line in lines if line[0] == "Pss:"), 0.0)


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def end(driver: subprocess.Popen[bytes]) -> None:
    """End a driver and all that it started."""
    family = [driver.pid, *descendants(driver.pid)]
    driver.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        driver.wait(30)
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    driver.wait()


if __name__ == "__main__":
    main()
