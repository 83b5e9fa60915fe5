"""How right is `study plan --calibrate`: plan a small study, run it, compare the times.

The plan measures first, on random images; then the same file is run in a fresh results folder. Compared is the time
from the first trial's start to the last one's end, which is what a plan tells. A second plan goes by what the first run
left in its results folder. Nothing here is collected by pytest; other programs on the machine spoil the figures.

    .venv/bin/python tests/benchmarks/plan_accuracy.py --depths 10 18 --epochs 3 --count 1000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import busy_cores, commit_of, describe_machine

ROOT = Path(__file__).parents[2]
STUDY = """\
name: accuracy
data: {{source: faces, image_size_px: {size}, count: {count}}}
trial: {{max_epochs: {epochs}, batch_size: 64}}
space:
  depth:     {{choice: {depths}}}
  optimizer: {{choice: [sgd, adam]}}
design: grid
resources: {{gpus_per_trial: {gpus}}}
"""


def call(*arguments: object) -> dict[str, Any]:
    """Run a command of the project and return its JSON."""
    command = [sys.executable, "-m", "cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def took_s(records: list[dict[str, Any]]) -> float:
    """Return the time from the first trial's start to the last one's end."""
    return float(max(record["finished_at_s"] for record in records) - min(record["started_at_s"] for record in records))


def compare(text: str, folder: Path) -> dict[str, float]:
    """Plan, run, and plan again; return the seconds told and taken."""
    file, results = folder / "accuracy.yaml", folder / "results"
    file.write_text(text)
    measured = call("plan", file, "--calibrate", "--results", folder / "none")["time"]["wall_s"]
    call("run", file, "--results", results)
    taken = took_s(call("show", "accuracy", "--results", results)["records"])
    remembered = call("plan", file, "--name", "again", "--results", results)["time"]["wall_s"]
    return {"measured_s": measured, "taken_s": taken, "remembered_s": remembered}


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 18])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--gpus", default="0", help="gpus_per_trial")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "plan_accuracy.json")
    asked = parser.parse_args()
    busy = busy_cores()
    settings = {"depths": asked.depths, "epochs": asked.epochs, "count": asked.count, "size": asked.size}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STUDY_CACHE"] = f"{folder}/cache"
        figures = compare(STUDY.format(gpus=asked.gpus, **settings), Path(folder))
    for name in ("measured_s", "remembered_s"):
        print(
            f"{name:13} {figures[name]:6.1f}, taken {figures['taken_s']:6.1f}: "
            f"{figures[name] / figures['taken_s'] - 1:+.0%}"
        )
    print(f"other programs kept {busy:.1f} cores busy before")
    about = {"machine": describe_machine(), "commit": commit_of(ROOT), "busy_cores_before": busy}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({**figures, **settings, "gpus_per_trial": asked.gpus, **about}, indent=2) + "\n")


if __name__ == "__main__":
    main()
