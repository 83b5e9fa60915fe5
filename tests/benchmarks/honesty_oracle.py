"""Show what power a verdict can have that one configuration of six-fold spread may not mislead.

    .venv/bin/python tests/benchmarks/honesty_oracle.py

Seeds alone blur the metric here. Who knew every spread would need no caution. Who pools them sees a lead of 4 standard
errors nearly as often, but calls a winner too often where one configuration spreads widely; who gives a configuration
its own spread where the F test at some level calls it larger pays for it where all spread alike.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent))

from honesty import _separations, true_metric

Floats = NDArray[np.float64]

SD, WIDE, LEAD, VALUE = 0.008, 6.0, 4.0, 0.9
LEVELS = (0.003, 0.01, 0.02, 0.05, 0.1)


def values(rng: np.random.Generator, studies: int, configurations: int, seeds: int, wide: float, lead: float) -> Floats:
    """Return AUCs [studies, configurations, seeds]; the first spreads widely or leads."""
    error = SD * np.sqrt(2 / seeds)
    means = np.full(configurations, VALUE - lead * error)
    means[0] = VALUE
    spreads = np.ones(configurations)
    spreads[0] = wide
    centres, sds = _separations("auc", means, SD, spreads)
    normal = rng.standard_normal((studies, configurations, seeds))
    return true_metric("auc", centres[:, None] + sds[:, None] * normal)


def _residual_squares(each: Floats) -> Floats:
    left = each - each.mean(axis=2, keepdims=True) - each.mean(axis=1, keepdims=True) + each.mean((1, 2), keepdims=True)
    squares: Floats = (left**2).sum(axis=(1, 2))
    return squares


def winners(each: Floats) -> dict[str, float]:
    """Return how often a winner is called, by each rule."""
    _, size, seeds = each.shape
    each = np.take_along_axis(each, np.argsort(-each.mean(axis=2), axis=1)[:, :, None], axis=1)
    lead = each[:, 0].mean(axis=1) - each[:, 1].mean(axis=1)
    df = (size - 1) * (seeds - 1)
    pooled = _residual_squares(each) / df
    is_pooled_winner = lead > stats.t.ppf(0.975, df) * np.sqrt(2 * pooled / seeds)
    rest = _residual_squares(each[:, 1:]) / (df - seeds + 1)
    own = (each[:, 0] - each[:, 1:].mean(axis=1)).var(axis=1, ddof=1)
    ratio = own / (rest * size / (size - 1))
    is_own_winner = lead > stats.t.ppf(0.975, seeds - 1) * np.sqrt((own + rest) / seeds)
    rates = {"knows every spread": float(np.mean(lead > 1.96 * SD * np.sqrt(2 / seeds))), "pools all": 0.0}
    rates["pools all"] = float(np.mean(is_pooled_winner))
    for level in LEVELS:
        scatters = ratio > stats.f.ppf(1 - level, seeds - 1, df - seeds + 1)
        rates[f"own spread at {level}"] = float(np.mean(np.where(scatters, is_own_winner, is_pooled_winner)))
    return rates


def main() -> None:
    """Print power and false winners of each rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    power = winners(values(np.random.default_rng([options.seed, 1]), options.studies, 8, 3, 1.0, LEAD))
    wrong = {
        size: winners(values(np.random.default_rng([options.seed, size]), options.studies, size, 3, WIDE, 0.0))
        for size in (3, 5, 8)
    }
    print(f"{'rule':24s} {'power, 8 x 3':>14s}" + "".join(f"{f'wrong, {size} x 3':>15s}" for size in wrong))
    for rule, seen in power.items():
        # Who knows every spread is never misled by one, and is wrong as often as any test at 5 %.
        rates = "".join(
            f"{'-' if rule.startswith('knows') else format(each[rule], '.3f'):>15s}" for each in wrong.values()
        )
        print(f"{rule:24s} {seen:14.3f}{rates}")


if __name__ == "__main__":
    main()
