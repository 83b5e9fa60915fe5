"""Time the commands that read on a study of many trials: in a results folder, and on a real MLflow server over HTTP.

    python tests/benchmarks/reading_scale.py --trials 10000 --out results/reference/reading_scale.json

Every command is a process of its own, timed from its start to its exit. Beside them stand the plain ways: MLflow's
client loads all runs into pandas and sorts them there, or lets the server order them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from big_study import write_runs, write_study
from machine import busy_cores, describe_machine

from study.paths import Layout
from study.storage.study_storage import StudyStorage
from tracking.ui.server import serve

ROOT = Path(__file__).resolve().parents[2]
NAME = "big"
WHERE = "optimizer = 'adam' and depth >= 34"
COMMANDS: dict[str, tuple[str, ...]] = {
    "list": ("list",),
    "best": ("best", NAME),
    "best by another metric": ("best", NAME, "--metric", "val_loss"),
    "compare --top 20": ("compare", NAME, "--top", "20"),
    "compare --top 20 --where": ("compare", NAME, "--top", "20", "--where", WHERE),
    "show": ("show", NAME),
    "show RUN": ("show", f"{NAME}/77"),
    "diff RUN RUN": ("diff", f"{NAME}/77", f"{NAME}/78"),
}
PLAIN = {
    "pandas": """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
found = mlflow.search_runs(experiment_names=[sys.argv[2]], max_results=50000)
print(found.sort_values("metrics.best.val_auc", ascending=False).head(20).shape)
""",
    "ordered by the server": """
import sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
print(len(client.search_runs([experiment.experiment_id], max_results=20, order_by=["metrics.`best.val_auc` DESC"])))
""",
}


def timed(command: Sequence[str], limit_s: float = 600) -> dict[str, Any]:
    """Run a process to its end; return its wall time and the processor's."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, cwd=ROOT)
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    failed = {} if done.returncode == 0 else {"failed": done.stderr.strip().splitlines()[-1:]}
    return {"wall_s": round(wall_s, 3), "cpu_s": round(cpu_s, 3), **failed}


def repeated(command: Sequence[str], rounds: int) -> dict[str, Any]:
    """Run a process several times."""
    runs = [timed(command) for _ in range(rounds)]
    walls = [run["wall_s"] for run in runs]
    return {
        "min_s": min(walls), "median_s": statistics.median(walls), "cpu_s": min(run["cpu_s"] for run in runs),
        **next(({"failed": run["failed"]} for run in runs if "failed" in run), {}),
    }  # fmt: skip


def study(*words: str) -> list[str]:
    """Return a command line."""
    return [sys.executable, "-m", "cli", *words]


def measure_folder(layout: Layout, rounds: int) -> dict[str, Any]:
    """Time the commands on a results folder."""
    where, paths = ("--results", str(layout.results)), layout.study(NAME)
    figures: dict[str, Any] = {"journal_bytes": paths.journal.stat().st_size}
    began_s, cpu_s = time.perf_counter(), time.process_time()
    StudyStorage.open(paths).records()
    figures["open the storage itself"] = {
        "wall_s": round(time.perf_counter() - began_s, 3), "cpu_s": round(time.process_time() - cpu_s, 3),
    }  # fmt: skip
    figures |= {name: repeated(study(*words, *where), rounds) for name, words in COMMANDS.items()}
    return figures


def measure_server(layout: Layout, storage: StudyStorage, rounds: int) -> dict[str, Any]:
    """Time the same commands on an MLflow server, and the plain ways."""
    database = layout.results / "mlflow.db"
    write_runs(layout, layout.study(NAME), storage, database)
    figures: dict[str, Any] = {"database_bytes": database.stat().st_size}
    server = serve(f"sqlite:///{database}", layout.results / "mlartifacts", port=0)
    try:
        where = ("--tracking-uri", server.address)
        for name, words in COMMANDS.items():
            figures[name] = repeated(study(*words, *where), rounds)
            print(name, figures[name], file=sys.stderr, flush=True)
        for name, code in PLAIN.items():
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "600"
            figures[f"plain: {name}"] = timed([sys.executable, "-c", code, server.address, NAME], limit_s=1800)
            print(name, figures[f"plain: {name}"], file=sys.stderr, flush=True)
    finally:
        server.stop()
    return figures


def main() -> None:
    """Measure as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where the study lies; deleted again")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that the server does not outlive this
    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        layout = Layout(Path(folder))
        storage = write_study(layout.study(NAME), asked.trials, asked.epochs)
        told = {
            "machine": describe_machine(), "busy_cores_before": round(busy_cores(), 2), "trials": asked.trials,
            "epochs": asked.epochs, "rounds": asked.rounds, "http": measure_server(layout, storage, asked.rounds),
            "folder": measure_folder(layout, asked.rounds), "busy_cores_after": round(busy_cores(), 2),
        }  # fmt: skip
    text = json.dumps(told, indent=1) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
