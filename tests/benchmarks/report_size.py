"""Time `study report` on studies of many trials with stored predictions, and weigh its pages.

    python tests/benchmarks/report_size.py --trials 200 2000 --out results/reference/report_size.json

The trials were never trained: their predictions are drawn, and give the metrics that they report.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from machine import busy_cores, describe_machine
from report_results_kit import write_results

from study.config.search_config import DesignSpec

ROOT = Path(__file__).resolve().parents[2]


def measure(results: Path, name: str) -> dict[str, Any]:
    """Time a process that writes each format, and weigh what it wrote."""
    found: dict[str, Any] = {}
    for shape, suffix in (("html", "html"), ("markdown", "md")):
        out = results / f"{name}.{suffix}"
        command = [sys.executable, "-m", "cli", "report", name, "--results", str(results), "--format", shape,
                   "--out", str(out)]  # fmt: skip
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found[shape] = {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "bytes": out.stat().st_size}
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_machine(), "busy_cores_before": round(busy_cores(), 2),
                              "epochs": asked.epochs, "images": asked.images, "studies": {}}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for trials in asked.trials:
            name = f"search of {trials} trials"
            write_results(Path(folder), name=name, trials=trials, epochs=asked.epochs, images=asked.images)
            report["studies"][name] = measure(Path(folder), name)
            print(name, report["studies"][name], flush=True)
        name = f"grid of 3 points x {asked.trials[0] // 3} seeds"
        write_results(Path(folder), name=name, trials=3, seeds=asked.trials[0] // 3, epochs=asked.epochs,
                      images=asked.images, design=DesignSpec(kind="grid"))  # fmt: skip
        report["studies"][name] = measure(Path(folder), name)
        print(name, report["studies"][name], flush=True)
    if asked.out is not None:
        asked.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
