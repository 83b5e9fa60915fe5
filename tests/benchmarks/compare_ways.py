"""Measure the wall-clock of the plain way against `study` on one fixed list of trials.

Each way is a script called with `--data --results --epochs --limit --seed` whose last line on stdout is a JSON object
with `val_auc` (a list, one best epoch per trial, in the order of the points), `best_val_auc` and `trials`.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import busy_cores, commit_of, cpu_clock_s, describe_machine, processes_of_session
from points import BATCH_SIZE, IMAGE_SIZE_PX, POINTS, Job

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEFAULT_FOLDER = ROOT / "results" / "benchmarks"
IMAGES = 2000  # divided 60:20:20, which leaves 1,200 to train on and 400 to validate on
SCRIPTS = {"plain": HERE / "plain_way.py", "study": HERE / "study_way.py"}
RUN_LIMIT_S = 1800
GOODBYE_LIMIT_S = 60


@dataclass(frozen=True)
class Run:
    """One measured run of one way.

    ``wall_s`` is taken from outside, from starting the process to its exit. ``busy_cores_before`` is what other
    programs used just before; ``busy_core_s`` is what the whole machine used during the run, others included, and
    ``steal_core_s`` what a hypervisor withheld. ``beyond_training_s`` is the time of a warm worker per trial without
    its epochs, known of `study` only.
    """

    way: str
    repeat: int
    wall_s: float
    busy_cores_before: float
    busy_core_s: float
    steal_core_s: float
    best_val_auc: float
    val_auc: list[float]
    beyond_training_s: float | None = None


def make_data(out: Path, count: int) -> None:
    """Write the built-in faces as JPEGs, `out/{train,val,test}/<class>/`; keep a folder that is already whole."""
    done = out / "made.json"
    if done.exists() and json.loads(done.read_text()) == {"count": count}:
        return
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cli", "data", "faces", str(out), "--count", str(count)]
    subprocess.run(command, cwd=ROOT, check=True)
    done.write_text(json.dumps({"count": count}))


def count_images(data: Path) -> dict[str, int]:
    """Return the number of files by split and class, e.g. `{"train/wearing_mask": 600}`."""
    folders = sorted(path for split in ("train", "val") for path in (data / split).iterdir() if path.is_dir())
    return {f"{path.parent.name}/{path.name}": sum(1 for _ in path.iterdir()) for path in folders}


def clean_environment(cache: Path) -> dict[str, str]:
    """Return this environment without settings that would change one way, and with an empty cache."""
    ours = ("RAY_", "MLFLOW_", "STUDY_", "OMP_", "MKL_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"STUDY_CACHE": str(cache), "XDG_CACHE_HOME": str(cache)}


@contextlib.contextmanager
def session(command: list[str], log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a session of its own; on the way out wait for what it left behind, then end that."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    done = False
    try:
        yield process
        done = True
    finally:
        give_up_s = time.monotonic() + (GOODBYE_LIMIT_S if done else 0)
        while processes_of_session(process.pid) and time.monotonic() < give_up_s:
            time.sleep(0.2)
        for pid in processes_of_session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def summary_of(log: Path) -> dict[str, Any]:
    """Return the last JSON object a way printed on a line of its own."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        if line.startswith("{") and '"val_auc"' in line:
            return json.loads(line)
    raise SystemExit(f"no line of JSON with `val_auc` in {log}")


def measure(way: str, repeat: int, args: argparse.Namespace) -> Run:
    """Run one way once in a fresh process with an empty results folder and an empty cache."""
    folder, log = args.work / f"{way}-{repeat}", args.work / f"{way}-{repeat}.log"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cache").mkdir(parents=True)
    options = {"data": args.data, "results": folder / "results", "epochs": args.epochs, "limit": args.limit}
    command = [sys.executable, str(SCRIPTS[way])]
    options |= {"seed": repeat} | ({} if args.job is None else {"job": args.job})
    command += [word for key, value in options.items() for word in (f"--{key}", str(value))]

    before = busy_cores()
    busy_s, steal_s = cpu_clock_s()
    start_s = time.perf_counter()
    with session(command, log, clean_environment(folder / "cache")) as process:
        code = process.wait(RUN_LIMIT_S)
        wall_s = time.perf_counter() - start_s
        busy_end_s, steal_end_s = cpu_clock_s()
    if code != 0:
        raise SystemExit(f"the {way} way ended with exit code {code}; its output is in {log}")

    summary = summary_of(log)
    if len(summary["val_auc"]) != args.limit:
        raise SystemExit(f"the {way} way must run {args.limit} trials, but it ran {len(summary['val_auc'])}; see {log}")
    if not args.keep:
        shutil.rmtree(folder)
    return Run(
        way=way,
        repeat=repeat,
        wall_s=round(wall_s, 2),
        busy_cores_before=round(before, 2),
        busy_core_s=round(busy_end_s - busy_s, 1),
        steal_core_s=round(steal_end_s - steal_s, 1),
        best_val_auc=max(summary["val_auc"]),
        val_auc=summary["val_auc"],
        beyond_training_s=summary.get("beyond_training_s"),
    )


def spread(values: list[float]) -> dict[str, float]:
    """Return the median with the smallest and the largest value."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(runs: list[Run]) -> dict[str, Any]:
    """Reduce the runs to medians and, where both ways ran, to the ratio and the difference in AUC.

    The ratio is that of the two median times; its range comes from the pairs, one plain and one `study` run each, that
    followed each other. The same seed does not mean the same weights in both ways, so AUCs are compared as means.
    """
    by_way = {way: [run for run in runs if run.way == way] for way in SCRIPTS}
    by_way = {way: sorted(own, key=lambda run: run.repeat) for way, own in by_way.items() if own}
    result: dict[str, Any] = {
        way: {
            "wall_s": spread([run.wall_s for run in own]),
            "best_val_auc": spread([run.best_val_auc for run in own]),
            "mean_val_auc": spread([statistics.fmean(run.val_auc) for run in own]),
            "val_auc_by_point": [statistics.fmean(aucs) for aucs in zip(*(run.val_auc for run in own), strict=True)],
        }
        for way, own in by_way.items()
    }
    beyond_s = [run.beyond_training_s for run in by_way.get("study", []) if run.beyond_training_s is not None]
    if beyond_s:
        result["study"]["beyond_training_s"] = spread(beyond_s)
    if len(by_way) == len(SCRIPTS):
        pairs = list(zip(by_way["plain"], by_way["study"], strict=True))
        ratios = [plain.wall_s / ours.wall_s for plain, ours in pairs]
        result["ratio_plain_to_study"] = {
            "of_medians": result["plain"]["wall_s"]["median"] / result["study"]["wall_s"]["median"],
            "min": min(ratios),
            "max": max(ratios),
        }
        result["val_auc_study_minus_plain"] = {
            "mean_over_points": spread([statistics.fmean(b.val_auc) - statistics.fmean(a.val_auc) for a, b in pairs]),
            "best": spread([b.best_val_auc - a.best_val_auc for a, b in pairs]),
        }
    return result


def render(report: dict[str, Any]) -> str:
    """Return the report as plain lines: machine, runs, medians, ratio, AUCs."""
    machine, settings, result = report["machine"], report["settings"], report["result"]
    flags = ", ".join(f"{name} {'yes' if machine[name] else 'no'}" for name in ("avx512f", "avx512_bf16", "amx"))
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {flags}",
        f"{settings['trials']} trials x {settings['epochs']} epochs, images {settings['images']}",
        "",
        f"{'way':6} {'repeat':>6} {'wall_s':>8} {'others':>7} {'steal_s':>8} {'best AUC':>9}  AUC of each trial",
    ]
    for run in report["runs"]:
        aucs = " ".join(f"{auc:.3f}" for auc in run["val_auc"])
        lines.append(
            f"{run['way']:6} {run['repeat']:>6} {run['wall_s']:>8.1f} {run['busy_cores_before']:>7.2f} "
            f"{run['steal_core_s']:>8.1f} {run['best_val_auc']:>9.4f}  {aucs}"
        )
    lines.append("")
    for way in (way for way in SCRIPTS if way in result):
        wall, mean = result[way]["wall_s"], result[way]["mean_val_auc"]
        lines.append(
            f"{way:6} median {wall['median']:.1f} s ({wall['min']:.1f} to {wall['max']:.1f}), mean AUC of the trials "
            f"{mean['median']:.4f} ({mean['min']:.4f} to {mean['max']:.4f})"
        )
    if beyond := result.get("study", {}).get("beyond_training_s"):
        lines.append(f"study: {beyond['median']:.2f} s a trial of a warm worker's time are not its epochs")
    if ratio := result.get("ratio_plain_to_study"):
        gain = result["val_auc_study_minus_plain"]["mean_over_points"]
        lines.append(f"plain / study: {ratio['of_medians']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})")
        lines.append(f"AUC, study - plain: {gain['median']:+.4f} ({gain['min']:+.4f} to {gain['max']:+.4f})")
    return "\n".join(lines)


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every comparison of the two ways takes."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way")
    parser.add_argument("--first", type=int, default=0, help="number of the first repeat, for a run in pieces")
    parser.add_argument("--data", type=Path, help="a folder with train/ and val/ instead of the built-in faces")
    parser.add_argument("--work", type=Path, default=DEFAULT_FOLDER / "work", help="where the ways write")
    parser.add_argument("--ways", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--keep", action="store_true", help="keep what the ways wrote, several hundred MB a run")
    parser.set_defaults(job=None)
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER / "compare_ways.json")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=len(POINTS), help="run only the first N points")
    run_pairs(parser.parse_args(), Job(POINTS, IMAGE_SIZE_PX, BATCH_SIZE), DEFAULT_FOLDER / "data", IMAGES)


def run_pairs(args: argparse.Namespace, job: Job, data: Path, images: int) -> None:
    """Run both ways by turns, print the table and write the report.

    Args:
        args: what ``parser_of`` gives, with ``out``, ``epochs``, ``limit`` and ``job``, a file or None.
        job: the trials.
        data: where the built-in faces are written, unless other data are asked for.
        images: how many of them.
    """
    if args.data is None:
        args.data = data
        make_data(args.data, images)
    args.data, args.work = args.data.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    # Bring the libraries' files into memory, so that the first run is not the only one to read them from the disk.
    subprocess.run([sys.executable, "-c", "import mlflow, optuna, ray.tune, sklearn.metrics, torchvision"], check=True)

    runs: list[Run] = []
    for repeat in range(args.first, args.first + args.repeats):
        # Change who goes first, so that a drift of the machine favours nobody.
        for way in args.ways if repeat % 2 == 0 else args.ways[::-1]:
            runs.append(measure(way, repeat, args))
            print(f"{way} {repeat}: {runs[-1].wall_s:.1f} s", file=sys.stderr, flush=True)

    if args.first:  # the last piece sums up those before it
        runs = [Run(**run) for run in json.loads(args.out.read_text())["runs"]] + runs
    report = {
        "machine": describe_machine(),
        "commit": commit_of(ROOT),
        "settings": {
            "trials": args.limit,
            "epochs": args.epochs,
            "image_size_px": job.image_size_px,
            "batch_size": job.batch_size,
            "images": count_images(args.data),
            "points": job.points[: args.limit],
        },
        "runs": [asdict(run) for run in runs],
        "result": compare(runs),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(render(report))


if __name__ == "__main__":
    main()
