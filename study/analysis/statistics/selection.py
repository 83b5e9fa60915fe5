"""The value of a winner, corrected for its having been picked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from study.analysis.statistics.contrast import ErrorModel, total_variances

Floats = NDArray[np.float64]

SPLIT = 0.7
"""Standard deviation of the noise added for picking, in that of the errors."""


_WIDER, _SURELY_PICKED = 0.15, 0.9
"""How much wider the interval of a corrected value is where another might have been picked, found by simulation."""


def corrected_value(model: ErrorModel, draws: Floats, split: float = SPLIT) -> tuple[float, float]:
    """Return what the configuration that is picked as the best of these is worth, on new images and with new seeds.

    As in BBC, one noisy copy of the results picks and another, whose error is independent of the first, tells what
    the picked one is worth. The copies are drawn from the influence of the images and the variance of the seeds.

    Args:
        model: where higher is better.
        draws: [draws, configurations], standard normal.
        split: the noise added for picking.

    Returns:
        The value, and the factor by which its interval is wider than that of a configuration named beforehand.

    Source: bootstrap bias corrected cross-validation, Tsamardinos, Greasidou & Borboudakis 2018; independent copies
        of normal values, Rasines & Young 2022.
    """
    units = model.runs.mean_units
    covariance = units @ units.T
    if model.spread is not None:
        by_images = np.diagonal(covariance)
        covariance = covariance + np.diag(total_variances(by_images, model.spread.beside_images()) - by_images)
    values, vectors = np.linalg.eigh(covariance)
    noise = draws @ (vectors * np.sqrt(np.maximum(values, 0))).T  # [draws, configurations]
    means = model.runs.means
    picked = (means + split * noise).argmax(axis=1)
    most_often = float(np.bincount(picked).max() / len(picked))
    wider = 1 + _WIDER * min(1.0, (1 - most_often) / (1 - _SURELY_PICKED))
    return float(np.mean(means[picked] - noise[np.arange(len(noise)), picked] / split)), wider
