"""Count the epochs that a search needs to reach what 32 full random trials reach, on recorded learning curves.

Run: python tests/benchmarks/search_efficiency.py [--seeds 10] [--trials 32] [--workers 2] [--out FILE.json]

Searcher, pruner and storage are those of a study; only training is replaced: a configuration gets the curve of the
nearest one in `results/reference/learning_curves.json` (`learning_curves.py` records it). For each seed random
search runs 32 trials to their end; its best AUC is the target, and all its epochs count, as in a study that nobody
watches. The others run until an epoch reaches the target. `--set` changes the search of the last kind.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from learning_curves import CURVES, ROOT
from machine import commit_of

from study.config.hyperparameters import DEFAULT_SGD_MOMENTUM, Hyperparameters, TrialConfig
from study.config.search_config import Objective, SearchSpec
from study.config.search_space import Choice, Condition, Parameter, Uniform
from study.config.study_config import StudySpec
from study.paths import StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, TrialState
from study.storage.study_storage import StudyStorage

SGD = (Condition(parameter="optimizer", values=("sgd",)),)
DATA = DataSummary("faces", "f" * 64, 32, ("no", "yes"), {"train": 60, "val": 20})
MOST = 4
"""A search that needs so many times as many epochs as random search has not reached the target."""


class Curves:
    """The recorded curves, by the nearest configuration; parts of the grid that were begun only are left out."""

    def __init__(self, file: Path) -> None:
        recorded = json.loads(file.read_text())
        self.epochs: int = recorded["settings"]["epochs"]
        self._curves: dict[tuple[Any, ...], list[float]] = {}
        for curve in recorded["curves"]:
            config = curve["config"]
            key = (config["init"], config["augmentation"], config["optimizer"])
            self._curves[*key, config["learning_rate"], config.get("momentum")] = curve["val_auc"]
        sizes = Counter(key[:2] for key in self._curves)
        whole = max(sizes.values())
        self._curves = {key: values for key, values in self._curves.items() if sizes[key[:2]] == whole}
        self.choices = {name: tuple(dict.fromkeys(key[at] for key in self._curves)) for at, name in enumerate(CHOICES)}
        self.rates = sorted({key[3] for key in self._curves})
        self.momenta = sorted({key[4] for key in self._curves if key[4] is not None})

    def __len__(self) -> int:
        return len(self._curves)

    def of(self, config: TrialConfig) -> list[float]:
        """Return the validation AUC after each epoch of the nearest configuration."""
        rate = min(self.rates, key=lambda known: abs(math.log(known / config.learning_rate)))
        momentum = None
        if config.optimizer == "sgd":
            given = DEFAULT_SGD_MOMENTUM if config.momentum is None else config.momentum
            momentum = min(self.momenta, key=lambda known: abs(known - given))
        return self._curves[config.init, config.augmentation, config.optimizer, rate, momentum]

    def space(self) -> tuple[Parameter, ...]:
        """Return the space that was recorded, with its ranges."""
        chosen = [Parameter(name=name, domain=Choice(values=values)) for name, values in self.choices.items()]
        momentum = Uniform(low=self.momenta[0], high=self.momenta[-1])
        rate = Uniform(low=self.rates[0], high=self.rates[-1], log=True)
        return (
            *chosen,
            Parameter(name="momentum", domain=momentum, when=SGD),
            Parameter(name="learning_rate", domain=rate),
        )


CHOICES = ("init", "augmentation", "optimizer")


@dataclass(frozen=True)
class Search:
    """What a simulated study came to: the epochs it ran and the best AUC it saw."""

    epochs: int
    best: float
    trials: int


def simulate(curves: Curves, search: SearchSpec, workers: int, target: float | None, most: int) -> Search:
    """Run a study on the curves until it ends, an epoch reaches the target, or it has run so many epochs.

    Each of the workers has a trial; they advance by turns, an epoch at a time.
    """
    spec = StudySpec(
        name="search",
        objective=Objective(metric="val_auc", mode="max"),
        trial=Hyperparameters(depth=10, max_epochs=curves.epochs),
        space=curves.space(),
        search=search,
    )
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        layout = StudyLayout(Path(folder) / "search")
        layout.root.mkdir()
        storage = StudyStorage.create(layout, spec, "name: search\n", data=DATA)
        best, ran, asked = -math.inf, 0, 0
        busy: list[tuple[int, Iterator[tuple[int, float]]]] = []
        while ran < most and (target is None or best < target):
            while len(busy) < workers and (assignment := storage.ask()) is not None:
                busy.append((assignment.trial, iter(enumerate(curves.of(assignment.config), 1))))
                asked += 1
            if not busy:
                break
            trial, epochs = busy.pop(0)
            epoch, value = next(epochs)
            storage.report(trial, EpochMetrics(epoch, {"val_auc": value}))
            best, ran = max(best, value), ran + 1
            if epoch == curves.epochs:
                storage.tell(trial, TrialState.COMPLETE, StopReason.FINISHED)
            elif storage.should_prune(trial):
                storage.tell(trial, TrialState.PRUNED, StopReason.PRUNED)
            else:
                busy.append((trial, epochs))
    return Search(ran, best, asked)


def kinds(changed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the searches to compare, by name; the last one is the default of a study file."""
    return {
        "random": {"sampler": "random", "pruner": "none"},
        "tpe": {"sampler": "tpe", "pruner": "none"},
        "random + asha": {"sampler": "random", "pruner": "asha"},
        "tpe + asha": {"sampler": "tpe", "pruner": "asha", **changed},
    }


def main() -> None:
    """Compare the searches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=32, help="full random trials that set the target")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of tpe + asha, as min_epochs=2")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "search_efficiency.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("study").setLevel(logging.ERROR)
    curves = Curves(options.curves)
    whole = options.trials * curves.epochs
    changed = {key: json.loads(value) for key, _, value in (part.partition("=") for part in options.set)}
    targets, ran = [], {name: [] for name in kinds(changed)}
    for seed in range(options.seeds):
        given = {"seed": seed, "trials": options.trials, "sampler": "random", "pruner": "none"}
        target = simulate(curves, SearchSpec(**given), options.workers, None, whole).best
        targets.append(target)
        for name, search in kinds(changed).items():
            spec = SearchSpec(seed=seed, trials=MOST * whole, **search)
            ran[name].append(simulate(curves, spec, options.workers, target, MOST * whole).epochs)
    report = {
        "curves": len(curves), "epochs": curves.epochs, "seeds": options.seeds, "workers": options.workers,
        "changed": changed, "commit": commit_of(ROOT), "targets": targets, "random_full_length_epochs": whole,
        "epochs_until_target": ran,
        "median": {name: statistics.median(epochs) for name, epochs in ran.items()},
        "times_fewer": {name: round(whole / statistics.median(epochs), 2) for name, epochs in ran.items()},
        "times_fewer_range": {
            name: [round(whole / max(epochs), 2), round(whole / min(epochs), 2)] for name, epochs in ran.items()
        },
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("targets", "epochs_until_target", "median", "times_fewer")}))


if __name__ == "__main__":
    main()
