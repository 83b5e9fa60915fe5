"""Count the epochs that a search needs to reach what 32 full random trials reach, on recorded learning curves.

Run: python tests/benchmarks/search_efficiency.py [--seeds 10] [--first-seed 0] [--trials 32] [--out FILE.json]

Searcher, pruner and storage are those of a study; only training is replaced, by the surrogate below of the curves that
`learning_curves.py` recorded. For each seed random search runs 32 trials to their end; its best AUC is the target, and
all its epochs count, as in a study that nobody watches. The others run until an epoch reaches the target, on
suggestions of other seeds. `--set` changes the search with a study file's defaults; settings are chosen on other seeds
(100 to 139) than those that are reported.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from learning_curves import CURVES, ROOT, SEARCHED, SPACE, new_storage, study_of
from machine import commit_of
from numpy.typing import NDArray
from scipy.special import expit
from scipy.special import logit as plain_logit
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor

from study.config.hyperparameters import TrialConfig
from study.config.search_config import SearchSpec
from study.config.search_space import Choice
from study.config.study_config import stable_seed
from study.records import EpochMetrics, StopReason, TrialState

CHANCE = 0.5
EXTREME = 0.99
TREES = 50
NEIGHBOURS = 5
"""From so many of the nearest recorded configurations comes the residual of a new one."""
MOST = 2
"""A search that needs so many times as many epochs as random search has not reached the target."""


class Surrogate:
    """Learning curves of any configuration of the recorded space: a random forest's mean and a recorded residual.

    The forest regresses whole curves, as logits, on scaled configurations. It is smoother than training is, so what it
    is wrong by for one of the nearest recorded configurations is added to its curve: the whole residual, predicted by
    trees that did not see that curve, drawn by a hash of the configuration and shrunk to the spread that seeds alone
    have. Epochs that a loss ended have the AUC of chance.

    Source: Eggensperger et al. 2015, "Efficient Benchmarking of Hyperparameter Optimizers via Surrogates".
    """

    def __init__(self, file: Path) -> None:
        recorded = json.loads(file.read_text())
        self.epochs: int = recorded["settings"]["epochs"]
        self.space = recorded["settings"]["space"]
        curves = recorded["curves"]
        first = min(curve["seed"] for curve in curves)
        again = [(curve["config"], whole(curve, self.epochs)) for curve in curves if curve["seed"] != first]
        curves = [curve for curve in curves if curve["seed"] == first]
        self.configs = [curve["config"] for curve in curves]
        self.inputs = np.array([encode(config) for config in self.configs])  # [N, D]
        self.curves = np.array([whole(curve, self.epochs) for curve in curves])  # [N, E]
        self._forest = RandomForestRegressor(TREES, max_features=0.7, oob_score=True, random_state=0)
        self._forest.fit(self.inputs, logit(self.curves))
        self.left_out: NDArray[np.float64] = self._forest.oob_prediction_  # [N, E], logits
        residuals = logit(self.curves) - self.left_out
        apart = [logit(np.array(curve)) - logit(self.curves[self.configs.index(config)]) for config, curve in again]
        self.seed_sd = float(np.std([curve[-1] for curve in apart]) / math.sqrt(2))
        self.residual_sd = float(residuals[:, -1].std())
        self._residuals = residuals * min(1.0, self.seed_sd / self.residual_sd)

    def __len__(self) -> int:
        return len(self.curves)

    def curve_of(self, config: Mapping[str, Any]) -> NDArray[np.float64]:
        """Return the validation AUC after each epoch: [E]."""
        inputs = encode(config)
        nearest = np.argsort(np.square(self.inputs - inputs).sum(1), kind="stable")[:NEIGHBOURS]
        drawn = nearest[stable_seed("residual", *sorted(config.items())) % len(nearest)]
        curve: NDArray[np.float64] = expit(self._forest.predict(inputs[None])[0] + self._residuals[drawn])
        return curve

    def quality(self) -> dict[str, Any]:
        """Return how well curves are foretold that the trees did not see, and how much of the rest is chance."""
        best = self.curves.max(1)
        drawn = [self.curve_of(config).max() for config in self.configs]
        return {
            "rank_correlation_left_out": rank_correlation(self.left_out.max(1), best),
            "residual_sd_of_last_logit": round(self.residual_sd, 3),
            "seed_sd_of_last_logit": round(self.seed_sd, 3),
            "rank_correlation_of_epoch_with_best": {
                epoch: rank_correlation(self.curves[:, epoch - 1], best) for epoch in (1, 2, 4, 8, self.epochs)
            },
            "best_auc_quantiles": {
                name: [round(float(value), 4) for value in np.quantile(values, (0.25, 0.5, 0.75, 0.9, 0.97, 1.0))]
                for name, values in (("recorded", best), ("surrogate", np.array(drawn)))
            },
        }


def encode(config: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return a configuration as numbers, those of a range in [0, 1] and in what is not there the middle."""
    encoded: list[float] = []
    for parameter in SPACE:
        value, domain = config.get(parameter.name), parameter.domain
        if isinstance(domain, Choice):
            encoded += [float(value == choice) for choice in domain.values]
        elif value is None:
            encoded.append(0.5)
        else:
            scale = math.log if domain.log else float
            encoded.append((scale(value) - scale(domain.low)) / (scale(domain.high) - scale(domain.low)))
    return np.array(encoded)


def logit(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logits of AUCs, of those beyond ``EXTREME`` its own."""
    logits: NDArray[np.float64] = plain_logit(np.clip(curves, 1 - EXTREME, EXTREME))
    return logits


def whole(curve: Mapping[str, Any], epochs: int) -> list[float]:
    """Return the AUC of every epoch, where the loss was not finite that of chance."""
    values: list[float] = curve["val_auc"]
    return values + [CHANCE] * (epochs - len(values))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's."""
    return round(float(spearmanr(first, second).statistic), 3)


@dataclass(frozen=True)
class Search:
    """What a simulated study came to: the epochs it ran and the best AUC it saw."""

    epochs: int
    best: float
    trials: int


def simulate(surrogate: Surrogate, search: SearchSpec, workers: int, target: float | None, most: int) -> Search:
    """Run a study on the curves until it ends, an epoch reaches the target, or it has run so many epochs.

    Each of the workers has a trial; they advance by turns, an epoch at a time.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        storage = new_storage(Path(folder), study_of(search))
        best, ran, asked = -math.inf, 0, 0
        busy: list[tuple[int, Iterator[tuple[int, float]]]] = []
        while ran < most and (target is None or best < target):
            while len(busy) < workers and (assignment := storage.ask()) is not None:
                curve = surrogate.curve_of(searched_of(assignment.config))
                busy.append((assignment.trial, iter(enumerate(curve.tolist(), 1))))
                asked += 1
            if not busy:
                break
            trial, epochs = busy.pop(0)
            epoch, value = next(epochs)
            storage.report(trial, EpochMetrics(epoch, {"val_auc": value}))
            best, ran = max(best, value), ran + 1
            if epoch == surrogate.epochs:
                storage.tell(trial, TrialState.COMPLETE, StopReason.FINISHED)
            elif storage.should_prune(trial):
                storage.tell(trial, TrialState.PRUNED, StopReason.PRUNED)
            else:
                busy.append((trial, epochs))
    return Search(ran, best, asked)


def searched_of(config: TrialConfig) -> dict[str, Any]:
    """Return the searched values that a configuration has."""
    return {name: value for name in SEARCHED if (value := getattr(config, name)) is not None}


DEFAULT = "tpe + asha"


def kinds(changed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the searches to compare, by name; ``DEFAULT`` is that of a study file."""
    return {
        "random": {"sampler": "random", "pruner": "none"},
        "tpe": {"sampler": "tpe", "pruner": "none"},
        "random + asha": {"sampler": "random", "pruner": "asha"},
        DEFAULT: {"sampler": "tpe", "pruner": "asha", **changed},
        "tpe + asha from epoch 1": {"sampler": "tpe", "pruner": "asha", "min_epochs": 1},
    }


def main() -> None:
    """Compare the searches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=32, help="full random trials that set the target")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time")
    parser.add_argument("--kinds", nargs="+", choices=list(kinds({})), default=list(kinds({})))
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of tpe + asha, as min_epochs=2")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "search_efficiency.json")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("study").setLevel(logging.ERROR)
    started, surrogate = time.monotonic(), Surrogate(options.curves)
    full = options.trials * surrogate.epochs
    changed = {key: json.loads(value) for key, _, value in (part.partition("=") for part in options.set)}
    searches = {name: search for name, search in kinds(changed).items() if name in options.kinds}
    targets, ran = [], {name: [] for name in searches}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        given = {"seed": seed, "trials": options.trials, "sampler": "random", "pruner": "none"}
        target = simulate(surrogate, SearchSpec(**given), options.workers, None, full).best
        targets.append(round(target, 5))
        for name, search in searches.items():
            spec = SearchSpec(seed=seed + 1000, trials=MOST * full, **search)
            ran[name].append(simulate(surrogate, spec, options.workers, target, MOST * full))
    fewer = {name: sorted(full / search.epochs for search in results) for name, results in ran.items()}
    medians = {name: statistics.median(search.epochs for search in results) for name, results in ran.items()}
    report = {
        "curves": len(surrogate), "epochs": surrogate.epochs, "surrogate": surrogate.quality(),
        "first_seed": options.first_seed, "seeds": options.seeds, "workers": options.workers,
        "changed": changed, "commit": commit_of(ROOT), "targets": targets, "random_full_length_epochs": full,
        "epochs_until_target": {name: [search.epochs for search in results] for name, results in ran.items()},
        "trials_until_target": {name: [search.trials for search in results] for name, results in ran.items()},
        "ratios": [round(ratio, 2) for ratio in fewer.get(DEFAULT, [])],
        "median": medians,
        "times_fewer": {name: round(full / median, 2) for name, median in medians.items()},
        "times_fewer_range": {name: [round(ratios[0], 2), round(ratios[-1], 2)] for name, ratios in fewer.items()},
        "took_s": round(time.monotonic() - started, 1),
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({key: report[key] for key in ("surrogate", "targets", "epochs_until_target", "times_fewer")}))


if __name__ == "__main__":
    main()
