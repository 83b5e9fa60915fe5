"""Break the time of one whole study down: processes, imports, data, training, and what a trial does besides.

Run: python tests/benchmarks/profile_study.py [--instructions avx2] [--name after] [--job JOB.json] [--out FILE.json]

The study is that of `compare_ways.py`, or of another job, such as `orchestration.py` writes into its work folder.
`profiled/sitecustomize.py` times phases in every Python process of it, and /proc tells the CPU time of each, also of
those that are no Python. What a process did besides its phases is `other`: in the driver mostly Ray and Tune. Profiles
of other names in FILE.json stay.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

from compare_ways import DEFAULT_FOLDER, HERE, IMAGES, ROOT, clean_environment, make_data, session
from machine import busy_cores, commit_of, cpu_clock_s, describe_machine
from points import read_job

SAMPLE_EVERY_S = 0.1
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
STEP = ("forward", "backward", "optimizer")
EVALUATION = ("validation", "shifted sets")
# Parts of command lines; the first that fits says what a process is. Ray's first process names the others' commands.
KINDS = {
    "study_way.py": "driver",
    "raylet/raylet": "Ray: raylet",
    "gcs/gcs_server": "Ray: gcs server",
    "log_monitor.py": "Ray: log monitor",
    "monitor.py": "Ray: autoscaler monitor",
    "dashboard/dashboard.py": "Ray: dashboard",
    "dashboard/agent.py": "Ray: dashboard agent",
    "ray::DashboardAgent": "Ray: dashboard agent",
    "runtime_env/agent": "Ray: runtime env agent",
    "ray::RuntimeEnvAgent": "Ray: runtime env agent",
    "fork_server": "fork server",
    "worker_launcher.py": "launchers of workers",
    "default_worker.py": "workers",
    "ray::": "workers",
    "exporter_process": "exporter",
}
Samples = dict[int, tuple[str, float]]


def kind_of(command: str) -> str:
    """Return what kind of process has a command line."""
    return next((kind for part, kind in KINDS.items() if part in command), "other")


def sample(root: int, samples: Samples) -> int:
    """Note the CPU time of a process and all that it started, and return how many live; ended ones keep theirs."""
    found: dict[int, tuple[str, list[str]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[int(folder.name)] = command, fields
    ours = {root}
    for pid in sorted(found):  # a process has a higher number than its parent, or had an earlier sample
        if int(found[pid][1][1]) in ours or pid in samples:
            ours.add(pid)
    living = ours & found.keys()
    for pid in living:
        command, fields = found[pid]
        kind = kind_of(command)
        if kind == "other" and pid in samples:
            kind = samples[pid][0]
        samples[pid] = kind, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return sum(found[pid][1][0] != "Z" for pid in living)


def profile(data: Path, work: Path, instructions: str, epochs: int, job: Path | None) -> dict[str, Any]:
    """Run the study once and return its profile."""
    folder = work / "profile"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "phases").mkdir(parents=True)
    env = clean_environment(folder / "cache") | (AVX2 if instructions == "avx2" else {})
    paths = os.pathsep.join((str(HERE / "profiled"), str(HERE), str(ROOT)))
    env |= {"PYTHONPATH": paths, "PROFILE_FOLDER": str(folder / "phases")}
    command = [sys.executable, str(HERE / "study_way.py"), "--data", str(data), "--results", str(folder / "results")]
    command += [] if job is None else ["--job", str(job)]
    samples: Samples = {}
    busy_before, (busy_s, _), started, ended_at = busy_cores(), cpu_clock_s(), time.time(), [0.0]
    with session([*command, "--epochs", str(epochs)], work / "profile.log", env) as process:
        ended = threading.Thread(target=lambda: (process.wait(), ended_at.append(time.time())))
        ended.start()
        while sample(process.pid, samples) or ended.is_alive():
            time.sleep(SAMPLE_EVERY_S)
    if process.returncode:
        raise SystemExit(f"the study ended with exit code {process.returncode}; its output is in {work}/profile.log")
    by_process = {int(path.stem): json.loads(path.read_text()) for path in (folder / "phases").glob("*.json")}
    return {
        "machine": describe_machine(),
        "commit": commit_of(ROOT),
        "instructions": instructions,
        "settings": {"trials": len(read_job(job, None).points), "epochs": epochs},
        "busy_cores_before": round(busy_before, 2),
        "wall_s": round(ended_at[-1] - started, 2),
        "busy_core_s": round(cpu_clock_s()[0] - busy_s, 1),
        **sum_up(samples, by_process, started),
    }


def sum_up(samples: Samples, by_process: dict[int, Any], started: float) -> dict[str, Any]:
    """Return CPU seconds by kind of process and by phase, shares, and when each phase of the start first began."""
    kinds: Counter[str] = Counter()
    phases: dict[str, dict[str, list[float]]] = {}
    first: dict[str, dict[str, list[float]]] = {}
    for pid, (kind, cpu_s) in samples.items():
        kinds[kind] += cpu_s
        known = by_process.get(pid)
        own = phases.setdefault(kind, {})
        inside_s = 0.0
        for name, (wall, cpu, count) in (known["phases"] if known else {}).items():
            total = own.setdefault(name, [0.0, 0.0, 0])
            for at, value in enumerate((wall, cpu, count)):
                total[at] += value
            inside_s += cpu
        total = own.setdefault("other", [0.0, 0.0, 0])
        total[1] += max(0.0, cpu_s - inside_s)
        for name, at_s in (known["first_s"] if known else {}).items():
            began = first.setdefault(kind, {})
            once = [at_s - started, known["first_end_s"].get(name, at_s) - started]
            began[name] = min(once, began.get(name, once))
    total_s = sum(kinds.values())
    workers = phases.get("workers", {})
    step_s = sum(workers.get(name, [0, 0.0])[1] for name in STEP)
    evaluation_s = sum(workers.get(name, [0, 0.0])[1] for name in EVALUATION)
    return {
        "cpu_s": {"all": round(total_s, 1), **{kind: round(seconds, 1) for kind, seconds in kinds.most_common()}},
        "share_of_steps": round(step_s / total_s, 3),
        "share_of_steps_and_evaluation": round((step_s + evaluation_s) / total_s, 3),
        "phases": {
            kind: {
                name: {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2), "count": int(count)}
                for name, (wall, cpu, count) in sorted(own.items(), key=lambda item: -item[1][1])
                if cpu >= 0.005 or wall >= 0.05
            }
            for kind, own in phases.items()
            if kind in ("driver", "workers", "fork server", "exporter")
        },
        "first_from_to_s": {
            kind: {name: [round(at_s, 2) for at_s in once] for name, once in sorted(began.items(), key=itemgetter(1))}
            for kind, began in first.items()
            if kind in ("driver", "workers")
        },
    }


def render(name: str, result: dict[str, Any]) -> str:
    """Return a profile as plain lines."""
    lines = [
        f"{name}: {result['wall_s']:.1f} s, {result['cpu_s']['all']:.1f} core-seconds ({result['instructions']}); "
        f"forward, backward, optimizer {result['share_of_steps']:.1%}, "
        f"with validation and shifted sets {result['share_of_steps_and_evaluation']:.1%}"
    ]
    lines += [f"  {seconds:7.1f}  {kind}" for kind, seconds in result["cpu_s"].items()]
    for kind, own in result["phases"].items():
        lines.append(f"{kind}:")
        lines += [
            f"  {row['cpu_s']:7.2f} s of CPU, {row['wall_s']:7.2f} s, {row['count']:6d} x  {phase}"
            for phase, row in own.items()
        ]
    for kind, began in result["first_from_to_s"].items():
        lines.append(f"{kind} first: " + ", ".join(f"{phase} {a:.1f}-{b:.1f}" for phase, (a, b) in began.items()))
    return "\n".join(lines)


def main() -> None:
    """Profile one study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instructions", choices=("native", "avx2"), default="native")
    parser.add_argument("--name", default="after", help="of the profile in FILE.json")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--job", type=Path, help="other points, as JSON")
    parser.add_argument("--data", type=Path, help="a folder with train/ and val/ instead of the built-in faces")
    parser.add_argument("--work", type=Path, default=DEFAULT_FOLDER / "work")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "profile.json")
    args = parser.parse_args()
    if args.data is None:
        args.data = DEFAULT_FOLDER / "data"
        make_data(args.data, IMAGES)
    args.work.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", "import mlflow, optuna, ray.tune, sklearn.metrics, torchvision"], check=True)
    result = profile(args.data.resolve(), args.work.resolve(), args.instructions, args.epochs, args.job)
    report = json.loads(args.out.read_text()) if args.out.exists() else {}
    args.out.write_text(json.dumps({**report, args.name: result}, indent=2) + "\n")
    print(render(args.name, result))


if __name__ == "__main__":
    main()
