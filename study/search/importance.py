"""Which searched hyperparameters told the best points of a search from the others."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from study.config.hyperparameters import Scalar
from study.config.search_config import Mode
from study.config.search_space import Parameter
from study.designs.space import searched
from study.search.space import distribution

FEWEST_POINTS = 10
_LEAST_SHARE, _BEST_POINTS = 0.1, 5


def best_share(points: int) -> float:
    """Return the share of the points that count as the best: a tenth, but at least five points."""
    return max(_LEAST_SHARE, _BEST_POINTS / points)


def importance(
    points: Sequence[Mapping[str, Scalar]], values: Sequence[float], space: Sequence[Parameter], mode: Mode
) -> dict[str, float]:
    """Return how much each searched parameter tells the best points from all others; the shares add up to 1.

    Args:
        points: at least FEWEST_POINTS that ran to their end, values of the parameters that exist in each.
        values: the metric of each point.
        space: the searched parameters with their domains.
        mode: which direction of the metric is better.

    Source: Watanabe, Bansal & Hutter 2023 (PED-ANOVA), with conditions as Optuna 5 takes them; nothing is random.
    """
    assert len(points) == len(values) >= FEWEST_POINTS
    domains = {parameter.name: distribution(parameter) for parameter in searched(space)}
    trials = [
        create_trial(params=dict(point), distributions={name: domains[name] for name in point}, value=value)
        for point, value in zip(points, values, strict=True)
    ]
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best_share(len(points)))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study in memory would be announced
    try:
        study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of conditions that few points meet, beside which nothing is rated
            return get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
