"""Comparisons on the scale of log odds, where seeds spread evenly even near 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from study.analysis.statistics.contrast import ErrorModel, p_values, total_variances
from study.analysis.statistics.variance_components import Runs, seed_spread

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCATTER_LEVEL = 0.003
"""Level of the F test by which the leader gets its own spread on this scale, found by simulation."""
_MEAN_OF_LOGISTIC = np.pi / 8
"""The mean of expit(x) of a normal x is about expit(mean / sqrt(1 + this * variance)), MacKay 1992."""


def log_odds_model(runs: Runs, order: Sequence[int], trials: Floats) -> ErrorModel:
    """Return the errors of the means of log odds.

    Args:
        runs: of a metric in [0, 1], several seeds of at least one configuration.
        order: the configurations, best first.
        trials: [runs], yes-or-no trials that would blur a fraction as much; values nearer to 0 or 1 than half of one
            are taken to be that far.
    """
    nearest = 0.5 / np.maximum(trials, 1)
    values = np.clip(runs.values, nearest, 1 - nearest)
    means = np.bincount(runs.configuration, weights=values) / runs.counts
    slopes = 1 / (means * (1 - means))  # [configurations], of the log odds
    changed = Runs(
        np.asarray(logit(values)), runs.units * slopes[runs.configuration, None], runs.configuration, runs.seed
    )
    return ErrorModel(changed, seed_spread(changed, order, scatter_level=SCATTER_LEVEL), 0.0)


def log_odds_p_values(model: ErrorModel, first: int, others: Ints, differences: Floats) -> Floats:
    """Return p values [others] of no difference between metrics, tested on the scale of log odds.

    A configuration whose seeds spread widely near the best value there can be has a skewed distribution: three of its
    seeds are often all high and near one another, and Student's test then sees a lead that is none. On this scale they
    are neither. The log odds of the mean metric, not the mean log odds, are compared.

    Args:
        model: of log odds.
        first: the configuration.
        others: [others], those to compare it with.
        differences: [others], of the metric; the p value is 1 where that of log odds has another sign.
    """
    runs = model.runs
    squares = np.bincount(runs.configuration, weights=(runs.values - runs.means[runs.configuration]) ** 2)
    variances = squares / np.maximum(runs.counts - 1, 1)
    levels = runs.means / np.sqrt(1 + _MEAN_OF_LOGISTIC * variances)
    lead = np.sign(differences) * (levels[first] - levels[others])
    images, _ = model.image_errors(first, others)
    nodes = model.nodes()
    return p_values(np.maximum(lead, 0), total_variances(images, nodes[:, [first]] + nodes[:, others]))
