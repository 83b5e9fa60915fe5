"""Run the benchmark's fixed list of trials the study way: the real command line, with the points in place of a sampler.

Source of the interface: the same arguments and the same last line as plain_way.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from points import POINTS

from cli.main import app
from cli.queries.study_handle import open_study
from study.search.observations import RecentObservations
from study.search.samplers import SAMPLERS, SamplerEntry

STUDY_FILE = Path(__file__).with_name("study_way.yaml")


class ListedPoints(BaseSampler):
    """Suggest the listed points in their order."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return POINTS[trial.number][param_name]


def main() -> None:
    """Run the study and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=len(POINTS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    SAMPLERS["random"] = SamplerEntry(lambda stream: ListedPoints(), lambda spec: RecentObservations(count=0))
    overrides = {
        "data.path": asked.data,
        "trial.max_epochs": asked.epochs,
        "search.seed": asked.seed,
        "search.sampler": "random",
    }
    sets = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    command = ["run", str(STUDY_FILE), "--trials", str(asked.limit), "--results", str(asked.results), *sets]
    app(command, standalone_mode=False)
    values = [record.value for record in open_study(asked.results, None).records]
    print(json.dumps({"val_auc": values, "best_val_auc": max(values), "trials": len(values)}))


if __name__ == "__main__":
    main()
