"""Run the benchmark's fixed list of trials the study way: the real command line, with the points in place of a sampler.

Source of the interface: the same arguments and the same last line as plain_way.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from points import Job, read_job

from cli.main import app
from study.paths import Layout
from study.records import TrialRecord
from study.search.observations import RecentObservations
from study.search.samplers import SAMPLERS, SamplerEntry
from study.storage.study_storage import StudyStorage

STUDY_FILE = Path(__file__).with_name("study_way.yaml")


class ListedPoints(BaseSampler):
    """Suggest the listed points in their order."""

    def __init__(self, job: Job) -> None:
        self._points = job.points

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._points[trial.number][param_name]


def main() -> None:
    """Run the study and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--job", type=Path, help="other points, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="how many trials run at once, as this machine has cores")
    asked = parser.parse_args()
    job = read_job(asked.job, asked.limit)
    SAMPLERS["random"] = SamplerEntry(lambda stream: ListedPoints(job), lambda spec: RecentObservations(count=0))
    overrides = {
        "data.path": asked.data,
        "data.image_size_px": job.image_size_px,
        "trial.batch_size": job.batch_size,
        "trial.max_epochs": asked.epochs,
        "space.depth": job.points[0]["depth"],
        "search.seed": asked.seed,
        "search.sampler": "random",
    }
    sets = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    command = ["run", str(STUDY_FILE), "--trials", str(len(job.points)), "--results", str(asked.results), *sets]
    app(command, standalone_mode=False)
    records = StudyStorage.open(Layout(asked.results).study(STUDY_FILE.stem.replace("_", "-"))).records()
    values = [record.value for record in records]
    beyond_s = beyond_training_s([record for record in records if record.finished_at_s], asked.workers)
    summary = {"val_auc": values, "best_val_auc": max(values), "trials": len(values), "beyond_training_s": beyond_s}
    print(json.dumps(summary))


def beyond_training_s(records: Sequence[TrialRecord], workers: int) -> float | None:
    """Return the time of a warm worker per trial without its epochs; None where no worker had a second trial.

    A worker is warm once each has ended a trial.
    """
    ends = sorted(record.finished_at_s or 0.0 for record in records)
    warm = sorted(records, key=lambda record: record.finished_at_s or 0.0)[workers:]
    if not warm:
        return None
    trained_s = sum(epoch.values["epoch_s"] for record in warm for epoch in record.history)
    return (workers * (ends[-1] - ends[workers - 1]) - trained_s) / len(warm)


if __name__ == "__main__":
    main()
