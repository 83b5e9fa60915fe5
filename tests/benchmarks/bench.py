"""Run the benchmarks of the CPU with small settings, each against the other way, in at most 15 minutes (`make bench`).

Run: python tests/benchmarks/bench.py [--rows ROW ...] [--limit-s 900] [--out FILE.json]

Both sides of a row take turns in several rounds, but for memory, which is measured once. The report holds the machine,
the versions, every round's ratio and each benchmark's own report; a plot of the ratios lies beside it. A row that fails
or for which no time is left is named and makes the exit code 1. The figures are rough: what is worth quoting is
measured by a row's own script.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import busy_cores, commit_of, describe_machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMIT_S, GOODBYE_S = 900, 60
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A benchmark: its script with small settings, how long it may take, and where its report has the ratios."""

    script: str
    options: Sequence[str]
    against: str
    limit_s: float
    ratios: Callable[[Report], list[float]]


def of_runs(report: Report) -> list[float]:
    """Return how many times as long the plain way took, by rounds."""
    walls = {way: [run["wall_s"] for run in report["runs"] if run["way"] == way] for way in ("plain", "study")}
    return [plain / ours for plain, ours in zip(walls["plain"], walls["study"], strict=True)]


def of_steps(report: Report) -> list[float]:
    """Return how many times as fast our training step is: smallest, median and largest of the rounds."""
    ours = [figure["ratios"] for figure in report["figures"] if figure["way"].startswith("ours")]
    median, least, most = max(ours)
    return [least, median, most]


def of_copies(report: Report) -> list[float]:
    """Return how many times less memory the images take than a copy for each trial would."""
    return [report["trials"] / report["copies"]]


ROWS: Mapping[str, Row] = {
    "training step": Row(
        "training_step.py", ("--depth", "18", "--image-size-px", "64", "--rounds", "5"), "torch as it comes", 75,
        of_steps,
    ),
    "frozen backbone": Row(
        "frozen_backbone.py", ("--trials", "4", "--epochs", "10", "--images", "80", "--size", "48"),
        "a pass in every epoch", 90, lambda report: list(report["ratios"]),
    ),
    "memory of images": Row(
        "node_memory.py", ("--trials", "4", "--images", "4000", "--busy-s", "10"), "a copy for each trial", 110,
        of_copies,
    ),
    "search": Row(
        "search_efficiency.py", ("--seeds", "3", "--kinds", "tpe + asha"), "epochs of 32 full random trials", 60,
        lambda report: list(report["ratios"]),
    ),
    "study": Row("compare_ways.py", ("--limit", "2", "--epochs", "1"), "the plain way", 300, of_runs),
    "start-up": Row(
        "startup.py", ("--repeats", "1"), "the plain way", 150, lambda report: list(report["ratios"]),
    ),
    "orchestration": Row("orchestration.py", ("--limit", "4", "--repeats", "2"), "the plain way", 180, of_runs),
}  # fmt: skip


def main() -> None:
    """Run the rows and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "bench.json")
    options = parser.parse_args()
    report = run_rows({name: ROWS[name] for name in options.rows}, options.limit_s)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(render(report))
    draw(report, options.out.with_suffix(".png"))
    raise SystemExit(1 if report["left_out"] else 0)


def run_rows(rows: Mapping[str, Row], limit_s: float) -> dict[str, Any]:
    """Run benchmarks one after another while the time lasts; a row may take what its limit says."""
    report: dict[str, Any] = {
        "machine": describe_machine(), "commit": commit_of(ROOT), "busy_cores_before": round(busy_cores(), 2),
        "rows": {}, "left_out": {},
    }  # fmt: skip
    until = time.monotonic() + limit_s
    for name, row in rows.items():
        limit_s = min(row.limit_s, until - time.monotonic())
        try:
            report["rows"][name] = run_row(row, limit_s)
        except (OSError, ValueError, LookupError, subprocess.SubprocessError) as error:
            report["left_out"][name] = describe(error)
        print(f"{name}: {report['left_out'].get(name, 'done')}", file=sys.stderr, flush=True)
    return report


def run_row(row: Row, limit_s: float) -> dict[str, Any]:
    """Run a benchmark in a process of its own and return its ratios and its report.

    Raises:
        OSError, ValueError, LookupError, subprocess.SubprocessError: it failed, took too long or wrote something else.
    """
    if limit_s <= 0:
        raise TimeoutError("no time was left")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "report.json")
        command = [sys.executable, str(HERE / row.script), *row.options, "--out", str(out)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                _, errors = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                interrupt(process)
                raise
        if process.returncode:
            raise ValueError((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
        own = json.loads(out.read_text())
    ratios = row.ratios(own)
    if not ratios:
        raise ValueError("its report has no round")
    return {
        "against": row.against, "ratio": round(statistics.median(ratios), 2), "ratios": [round(r, 2) for r in ratios],
        "took_s": round(time.monotonic() - started, 1), "report": {k: v for k, v in own.items() if k != "machine"},
    }  # fmt: skip


def interrupt(process: subprocess.Popen[str]) -> None:
    """Let a benchmark end what it started, as after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=GOODBYE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def describe(error: Exception) -> str:
    """Return a line on why a row is missing."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not done within {error.timeout:.0f} s"
    return f"{type(error).__name__}: {error}"


def render(report: Report) -> str:
    """Return the report as plain lines."""
    machine = report["machine"]
    flags = ", ".join(f"{name} {'yes' if machine[name] else 'no'}" for name in ("avx512f", "avx512_bf16", "amx"))
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "ray", "torch", "optuna", "mlflow"))
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {flags}", versions,
        f"commit {report['commit']}; {report['busy_cores_before']:.2f} cores were busy before", "",
    ]  # fmt: skip
    for name, row in report["rows"].items():
        every = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        lines.append(f"{name:18} {row['ratio']:6.2f} x against {row['against']} ({every}; {row['took_s']:.0f} s)")
    lines += [f"{name:18} left out: {why}" for name, why in report["left_out"].items()]
    return "\n".join(lines)


def draw(report: Report, file: Path) -> None:
    """Plot every row's median ratio as a bar and the rounds as points."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(report["rows"].items())[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.7 + 0.6 * len(rows)), layout="constrained")
    axes.barh([f"{name}\nagainst {row['against']}" for name, row in rows], [row["ratio"] for _, row in rows], alpha=0.5)
    for at, (_, row) in enumerate(rows):
        axes.plot(row["ratios"], [at] * len(row["ratios"]), "o", markersize=4, color="black")
    axes.axvline(1, color="grey", linewidth=1)
    axes.set(xlabel="times as fast, or as little", xlim=(0, None))
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
