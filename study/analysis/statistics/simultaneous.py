"""Statements about many configurations at once: those that may be the best, ranks, rows against a baseline."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from study.analysis.statistics.contrast import LEVEL, Contrast, ErrorModel, linear_contrasts
from study.analysis.statistics.own_spread import OwnSpread

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

DRAWS = 10_000
_BLOCK = 256


@functools.lru_cache(maxsize=4)
def normal_draws(draws: int, size: int) -> Floats:
    """Return [draws, size] standard normal numbers, always the same."""
    return np.random.default_rng(20_14).standard_normal((draws, size))


@dataclass(frozen=True)
class JointErrors:
    """Draws of the errors of all means together, and the half widths that make pairs comparable.

    Attributes:
        draws: [draws, configurations], errors of the means.
        scales: [configurations, configurations], the half width at ``level`` of each difference by itself; infinite
            where nothing is known, as of predictions that never differ.
        draw_scales: the same for differences of ``draws``, in which each has not yet been regularized.
        level: 1 less the coverage of what is said by these errors.
    """

    draws: Floats
    scales: Floats
    draw_scales: Floats
    level: float = LEVEL

    @functools.cached_property
    def _extremes(self) -> tuple[Singles, Singles]:
        """[configurations, draws], the largest and the least ratio of the others' errors, less its own, to their scale.

        In blocks that fit the processor's cache and in single precision, since 500 configurations have 2.5e9 ratios.
        """
        draws = self.draws.astype(np.float32)
        largest, least = np.empty((2, draws.shape[1], len(draws)), np.float32)
        inverse = (1 / self.draw_scales).astype(np.float32)
        for start in range(0, len(draws), _BLOCK):
            block = draws[start : start + _BLOCK].T.copy()  # [configurations, block]
            for k in range(len(block)):
                ratios = (block - block[k]) * inverse[k][:, None]
                largest[k, start : start + _BLOCK] = ratios.max(axis=0)
                least[k, start : start + _BLOCK] = ratios.min(axis=0)
        return largest, least

    def largest_ratios(self, k: int) -> Singles:
        """Return [draws], the largest ratio of another's error, less that of k, to the scale of their difference."""
        ratios: Singles = self._extremes[0][k]
        return ratios

    def largest_sizes(self, k: int) -> Singles:
        """Return [draws], the same for ratios of either sign."""
        sizes: Singles = np.maximum(self._extremes[0][k], -self._extremes[1][k])
        return sizes


def joint_errors(model: ErrorModel, draws: int = DRAWS, level: float = LEVEL) -> JointErrors:
    """Draw the errors of all means: images by their influence, seeds by the chi-square of their variance."""
    size = len(model.runs.counts)
    units = model.runs.mean_units
    values, vectors = np.linalg.eigh(units @ units.T)
    errors = normal_draws(draws, 2 * size)[:, :size] @ (vectors * np.sqrt(np.maximum(values, 0))).T
    if model.spread is not None:
        errors = errors + normal_draws(draws, 2 * size)[:, size:] * np.sqrt(np.maximum(model.nodes(draws), 0))
    return JointErrors(errors, *_scales(model, level), level)


def _scales(model: ErrorModel, level: float) -> tuple[Floats, Floats]:
    """Return the half width of each pair, by Satterthwaite's degrees of freedom, which suffice to make pairs alike."""
    size = len(model.runs.counts)
    if not model.known:
        return np.full((size, size), np.inf), np.full((size, size), np.inf)
    plain, images = model.pair_variances
    seeds, squares = np.zeros((2, size, size))
    if model.spread is not None:
        each, df, own = model.spread.of_means(), model.spread.df, model.spread.own
        seeds = each[:, None] + each
        shared = ~(own[:, None] | own)
        squares = np.where(shared, seeds**2 / df, each[:, None] ** 2 / df[:, None] + each**2 / df)
    variances = images + seeds
    degrees = variances**2 / np.maximum(squares, 1e-6 * variances**2 + np.finfo(float).tiny)
    half = np.sqrt(variances) * stdtrit(np.maximum(degrees, 1), 1 - level / 2)
    drawn = half * np.sqrt((plain + seeds) / np.where(variances > 0, variances, 1))
    unknown = (images <= 0) | np.eye(size, dtype=np.bool_)
    return np.where(unknown, np.inf, half), np.where(unknown, np.inf, drawn)


def may_be_best(means: Floats, errors: JointErrors) -> NDArray[np.bool_]:
    """Return [configurations], whether each may be the best: no other is surely better, one-sided at half the level.

    Source: multiple comparisons with the best, Hsu 1984, in the unconstrained form with estimated covariances.
    """
    return np.asarray(~surely_behind(means, errors).any(axis=1), dtype=np.bool_)


def surely_behind(means: Floats, errors: JointErrors) -> NDArray[np.bool_]:
    """Return [configurations, configurations], whether the first is surely worse than the second.

    One-sided at half the level, which holds for all that the first is compared with together.
    """
    behind = np.zeros((len(means), len(means)), np.bool_)
    for k in range(len(means)):
        bound = max(1.0, float(np.quantile(errors.largest_ratios(k), 1 - errors.level / 2)))
        behind[k] = (means - means[k]) / errors.scales[k] > bound
    return behind


def rank_intervals(means: Floats, errors: JointErrors) -> NDArray[np.int64]:
    """Return [configurations, 2], the lowest and the highest rank that each may have, 1 being the best.

    Source: Mogstad, Romano, Shaikh & Wilhelm 2024, the marginal interval of each rank.
    """
    ranks = np.empty((len(means), 2), np.int64)
    for k in range(len(means)):
        ratios = errors.largest_sizes(k)
        bound = max(1.0, float(np.quantile(ratios, 1 - errors.level)))
        ahead = (means - means[k]) / errors.scales[k]
        ranks[k] = 1 + (ahead > bound).sum(), len(means) - (ahead < -bound).sum()
    return ranks


def simultaneous_half_widths(errors: JointErrors, baseline: int) -> Floats:
    """Return [configurations], half widths of the differences to a baseline that all hold together.

    Infinite for itself and where nothing is known.

    Source: the idea of Dunnett 1955, with the maximum of joint draws, because all share images and seeds.
    """
    scales = errors.scales[baseline]
    ratios = np.abs((errors.draws - errors.draws[:, [baseline]]) / errors.draw_scales[baseline]).max(axis=1)
    wider = max(1.0, float(np.quantile(ratios, 1 - errors.level)))
    widths: Floats = scales * wider
    return widths


def simultaneous_p_values(means: Floats, errors: JointErrors, baseline: int) -> Floats:
    """Return [configurations], p values of the differences to a baseline that allow for their number.

    1 for itself and where nothing is known.
    """
    ratios = np.abs((errors.draws - errors.draws[:, [baseline]]) / errors.draw_scales[baseline]).max(axis=1)
    sizes = np.abs(means - means[baseline]) / errors.scales[baseline]  # [configurations]
    p: Floats = (1 + (ratios[:, None] >= sizes).sum(axis=0)) / (1 + len(ratios))
    return p


def picked_half_widths(errors: JointErrors, leader: int) -> Floats:
    """Return [configurations], half widths of the leader's differences that allow for its having been picked.

    Infinite for itself and where nothing is known.

    If all were equal, so many of the intervals between the leader and another would hold on average.

    Source: the false coverage rate of Benjamini & Yekutieli 2005, found from the joint draws.
    """
    draws, size = errors.draws, len(errors.scales)
    first = draws.argmax(axis=1)
    ratios = (draws[np.arange(len(draws)), first][:, None] - draws) / errors.draw_scales[first]
    others = ratios[np.arange(size) != first[:, None]]
    wider = max(1.0, float(np.quantile(others, 1 - errors.level)))
    widths: Floats = errors.scales[leader] * wider
    return widths


def simultaneous_contrasts(
    model: ErrorModel, weights: Floats, spread: OwnSpread | None, level: float = LEVEL, draws: int = DRAWS
) -> list[Contrast]:
    """Estimate linear combinations of the means in intervals that all hold together; p values allow for all too.

    Args:
        model: of metrics where higher is better; its own spread between seeds is not used.
        weights: [combinations, configurations], each row adds up to 0.
        spread: the variance between seeds; None where each configuration ran once.
        level: 1 less the coverage of all intervals together.
        draws: of the joint errors.

    Source: the maximum of joint draws, as in ``simultaneous_half_widths``.
    """
    singles = linear_contrasts(model, weights, spread, level)
    size, configurations = weights.shape
    units = weights @ model.runs.mean_units
    gram = units @ units.T
    values, vectors = np.linalg.eigh(gram)
    normal = normal_draws(draws, size + configurations)
    errors = normal[:, :size] @ (vectors * np.sqrt(np.maximum(values, 0))).T
    images, seeds = (np.array([getattr(each, name) ** 2 for each in singles]) for name in ("se_image", "se_seed"))
    known = np.isfinite(images) & (images > 0)
    variances = np.where(known, images + seeds, 1.0)
    degrees = np.full(size, np.inf)
    if spread is not None:
        # Variances grow and shrink with the estimates of them, alike in all combinations.
        own = (normal[:, size:] * np.sqrt(spread.of_means)) @ weights.T
        norm = np.sqrt(weights**2 @ spread.of_means)
        errors = errors + own * np.sqrt(np.maximum(spread.nodes_of(weights, draws), 0)) / np.where(norm > 0, norm, 1)
        shares = np.where(known, seeds / variances, 0.0)
        degrees = spread.df_of(weights) / np.maximum(shares**2, 1e-6)
    scales = np.sqrt(variances) * stdtrit(np.minimum(degrees, 1e6), 1 - level / 2)
    drawn = scales * np.sqrt(np.maximum(np.diagonal(gram) + seeds, 0) / variances)
    largest = (np.abs(errors) / np.where(known & (drawn > 0), drawn, np.inf)).max(axis=1)
    bound = max(1.0, float(np.quantile(largest, 1 - level)))
    return [
        _together(each, float(scale), bound, largest) if is_known else each
        for each, scale, is_known in zip(singles, scales, known, strict=True)
    ]


def _together(each: Contrast, scale: float, bound: float, largest: Floats) -> Contrast:
    """Return a contrast whose interval holds together with others, given the draws of the largest of all."""
    half = max(bound * scale, each.high - each.value)
    beyond = float((1 + (largest >= abs(each.value) / scale).sum()) / (1 + len(largest)))
    return replace(each, low=each.value - half, high=each.value + half, p=max(each.p, beyond))
