"""Which configuration won: the verdict on any predictions, with everything that is quoted beside it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from study.analysis.statistics.contrast import (
    LEVEL,
    NODES,
    Contrast,
    ErrorModel,
    contrasts,
    fraction_contrasts,
    half_widths,
    total_variances,
)
from study.analysis.statistics.influence import LOWER_IS_BETTER, Influence, split_metric
from study.analysis.statistics.intervals import fraction_interval, independent_difference, value_interval
from study.analysis.statistics.log_odds import log_odds_model, log_odds_p_values
from study.analysis.statistics.selection import corrected_value
from study.analysis.statistics.simultaneous import (
    DRAWS,
    JointErrors,
    joint_errors,
    may_be_best,
    normal_draws,
    picked_half_widths,
    rank_intervals,
    simultaneous_half_widths,
    simultaneous_p_values,
)
from study.analysis.statistics.variance_components import Care, Runs, seed_main_effect, seed_spread, shared_scales

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
About = Literal["checkpoints", "configurations"]


@dataclass(frozen=True)
class Standing:
    """A configuration's mean over its seeds with an interval, and the ranks it may have, 1 being the best."""

    value: float
    low: float
    high: float
    rank_low: int
    rank_high: int


@dataclass(frozen=True)
class WinnerValue:
    """The leader's value as measured, corrected for its having been picked, and the interval of the corrected one."""

    raw: float
    corrected: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """The answer to which configuration is the best.

    Attributes:
        leader: the configuration with the best mean.
        verdict: whether it is certain to be the best.
        about: what it is certain of; of a configuration that ran once only its checkpoint is known.
        may_be_best: those that may be the best; the leader alone where that is certain.
        others: the other configurations, best first.
        differences: the leader less each of ``others``, in the unit of the metric.
        standings: of every configuration.
        winner: the leader's value.
        scatters: those whose seeds differ far more than those of the others.
        is_deterministic: whether several seeds were given, but gave the same predictions throughout.
        known: whether the images suffice to estimate an error.
        level: 1 less the coverage of all that is said.
    """

    leader: int
    verdict: Literal["yes", "undecided"]
    about: About
    may_be_best: tuple[int, ...]
    others: tuple[int, ...]
    differences: tuple[Contrast, ...]
    standings: tuple[Standing, ...]
    winner: WinnerValue
    scatters: tuple[int, ...] = ()
    is_deterministic: bool = False
    known: bool = True
    level: float = LEVEL


@dataclass(frozen=True)
class Comparison:
    """Everything that answers are computed from: the runs of one metric, best configuration first in ``order``.

    Make it with ``compare_runs``.
    """

    measured: Influence
    runs: Runs
    order: tuple[int, ...]
    mode: int
    about: About
    is_deterministic: bool

    @functools.cached_property
    def model(self) -> ErrorModel:
        """The errors of the means, for questions about the leader."""
        return self._model("leader")

    @functools.cached_property
    def strict_model(self) -> ErrorModel:
        """The errors of the means, where all configurations matter as much as the leader."""
        return self._model("all")

    @functools.cached_property
    def plain_model(self) -> ErrorModel:
        """The errors of the means, as they are on average."""
        return self._model("none")

    def _model(self, care: Care) -> ErrorModel:
        spread = None if self.about == "checkpoints" else seed_spread(self.runs, self.order, care)
        smallest = float(self.measured.trials.min())
        images = self.runs.units.shape[1]
        one_image = 1 / max(1.0, min(smallest, images))
        if math.isinf(smallest):  # a loss has no largest share of one image; its own spread is the nearest there is
            one_image = float(np.abs(self.runs.units).max(initial=1 / images))
        return ErrorModel(self.runs, spread, one_image, self.measured.known)

    def to_others(self, first: int, others: Sequence[int], level: float = LEVEL) -> list[Contrast]:
        """Compare a configuration with others, higher being better."""
        at = np.asarray(others, dtype=np.int64)
        outcomes = self.measured.outcomes
        if outcomes is not None and len(self.runs.values) == len(self.runs.counts):
            by_configuration = outcomes[np.argsort(self.runs.configuration)]
            return fraction_contrasts(self.model, by_configuration, first, at, level)
        differences = contrasts(self.model, first, at, level)
        if self._log_odds is not None and self.measured.known:
            values = np.array([each.value for each in differences])
            p_values = log_odds_p_values(self._log_odds, first, at, values)
            differences = [no_surer_than(each, float(p)) for each, p in zip(differences, p_values, strict=True)]
        if self.about == "checkpoints":
            return differences
        once = self.runs.counts == 1  # what another seed of these would give is not known, however alike others' are
        return [
            no_surer_than(each, level) if once[first] or once[other] else each
            for each, other in zip(differences, at, strict=True)
        ]

    @functools.cached_property
    def _log_odds(self) -> ErrorModel | None:
        """The errors of the log odds; None where no seeds could spread unevenly."""
        if self.about == "checkpoints" or np.isinf(self.measured.trials).any():
            return None
        goodness = self.runs if self.mode == 1 else replace(self.runs, values=1 + self.runs.values)
        return log_odds_model(goodness, self.order, self.measured.trials)

    @functools.cached_property
    def mean_variances(self) -> Floats:
        """[nodes, configurations], equally likely variances of the means by themselves, for no comparison."""
        model = self.strict_model
        units = self.runs.mean_units
        by_images = (units**2).sum(axis=1)
        variances = total_variances(by_images, model.nodes())
        if model.spread is not None:
            total, images, residual, df = seed_main_effect(self.runs, self.order)
            seeds = int(self.runs.counts.max())
            shared = np.maximum(total * shared_scales(df, NODES) - images - residual, 0) / seeds
            variances = variances + shared[:, None]
        return variances

    def half_widths(self, level: float = LEVEL) -> Floats:
        """Return [configurations], half the widths of the symmetric intervals of the means."""
        widths = half_widths(self.mean_variances, level)
        return widths if self.measured.known else np.full(len(widths), math.inf)

    @property
    def span(self) -> float:
        """How far apart two values can be."""
        return math.inf if np.isinf(self.measured.trials).any() else 1.0

    def interval(self, k: int, value: float, half: float, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of a configuration's value, in the unit of the metric."""
        error = math.sqrt(float((self.runs.mean_units[k] ** 2).sum()))
        trials = float(self.measured.trials[self.runs.configuration == k].mean())
        if self.measured.outcomes is not None and self.about == "checkpoints":
            wider = half / own if (own := -float(ndtri(level / 2)) * error) > 0 else 1.0
            trials /= max(1.0, wider) ** 2
            return fraction_interval(value * trials, trials, level)  # counts, so that it is exact
        measured, seeds = self.mode * float(self.runs.means[k]), int(self.runs.counts[k])
        return value_interval(
            value, measured, half, error, trials, self.measured.ranked, seeds, self.runs.units.shape[1], level
        )


def no_surer_than(each: Contrast, p: float) -> Contrast:
    """Return a contrast whose p value is at least this one, and whose interval tells the same."""
    if p < each.level:
        return replace(each, p=max(each.p, p))
    return replace(each, p=max(each.p, p), low=min(each.low, 0.0), high=max(each.high, 0.0))


def compare_runs(metric: str, measured: Influence, configuration: Ints, seed: Ints) -> Comparison:
    """Return what answers questions about configurations.

    Args:
        metric: the metric, whose name says which direction is better.
        measured: it, of every run.
        configuration: [runs], in [0, configurations), each with at least one run.
        seed: [runs], equal for runs that share a seed.
    """
    mode = -1 if split_metric(metric)[0] in LOWER_IS_BETTER else 1
    every = Runs(mode * measured.values, mode * measured.units, configuration, seed)
    runs, about = every, "configurations"
    is_deterministic = every.counts.max() > 1 and _is_deterministic(every)
    if is_deterministic:
        _, first = np.unique(every.configuration, return_index=True)
        outcomes = measured.outcomes
        measured = replace(
            measured, values=measured.values[first], units=measured.units[first], trials=measured.trials[first],
            outcomes=None if outcomes is None else outcomes[first],
        )  # fmt: skip
        runs = Runs(every.values[first], every.units[first], every.configuration[first], every.seed[first])
    if runs.counts.max() == 1:
        about = "checkpoints"
    order = tuple(int(k) for k in np.argsort(-runs.means, kind="stable"))
    return Comparison(measured, runs, order, mode, about, is_deterministic)  # type: ignore[arg-type]


def _is_deterministic(runs: Runs) -> bool:
    """Whether every configuration's seeds gave the same values and influence."""
    for k in range(len(runs.counts)):
        own = runs.configuration == k
        if np.ptp(runs.values[own]) > 0 or np.ptp(runs.units[own], axis=0).max(initial=0) > 0:
            return False
    return True


def judge(comparison: Comparison, draws: int = DRAWS, level: float = LEVEL) -> Judgement:
    """Return which configuration is the best, and how certain that is.

    The leader is certain to be the best if it beats every other at a two-sided 5 %, which needs no correction for
    their number because all must be beaten.

    Args:
        comparison: what is judged.
        draws: of the joint errors.
        level: of all that is said; below 5 % where earlier results were judged already, see ``look_level``.
    """
    runs, leader, others = comparison.runs, comparison.order[0], comparison.order[1:]
    differences = comparison.to_others(leader, others, level)
    is_certain = bool(differences) and all(each.is_certain and each.value > 0 for each in differences)
    model = comparison.strict_model
    size = len(runs.counts)
    best, ranks = np.ones(size, np.bool_), np.ones((size, 2), np.int64)
    if others:
        errors = joint_errors(model, draws, level)
        ranks = rank_intervals(runs.means, errors)
        best = may_be_best(runs.means, errors)
        best[[other for other, each in zip(others, differences, strict=True) if not each.is_certain]] = True
        best[leader] = True
        if is_certain:
            best = np.arange(size) == leader
            ranks[leader] = 1
        else:
            differences = _widened(differences, errors, leader, others)
        ranks[~best, 0] = np.maximum(ranks[~best, 0], 2)
        ranks[:, 1] = np.maximum(ranks[:, 1], ranks[:, 0])
        ranks[best, 0] = 1
        ranks[leader, 1] = max(ranks[leader, 1], best.sum())
    spread = comparison.model.spread
    return Judgement(
        leader=leader,
        verdict="yes" if is_certain else "undecided",
        about=comparison.about,
        may_be_best=tuple(k for k in comparison.order if best[k]),
        others=others,
        differences=tuple(oriented(each, comparison) for each in differences),
        standings=_standings(comparison, ranks, level),
        winner=_winner_value(comparison, leader, draws, level),
        scatters=()
        if spread is None or not comparison.measured.known
        else tuple(int(k) for k in np.flatnonzero(spread.scatters)),
        is_deterministic=comparison.is_deterministic,
        known=comparison.measured.known,
        level=level,
    )


def oriented(each: Contrast, comparison: Comparison) -> Contrast:
    """Return a contrast of goodness in the unit of the metric, no wider than the metric can differ."""
    low, high = max(each.low, -comparison.span), min(each.high, comparison.span)
    if comparison.mode == 1:
        return replace(each, low=low, high=high)
    return replace(each, value=0.0 - each.value, low=-high, high=-low)  # of no difference it is 0, not -0


def against_baseline(comparison: Comparison, baseline: int, draws: int = DRAWS, level: float = LEVEL) -> list[Contrast]:
    """Return each configuration less the baseline, in order of the configurations, intervals that hold together.

    The p values allow for their number too. The entry of the baseline itself is a difference of 0.
    """
    errors = joint_errors(comparison.strict_model, draws, level)
    widths = simultaneous_half_widths(errors, baseline)
    together = simultaneous_p_values(comparison.runs.means, errors, baseline)
    differences = comparison.to_others(baseline, range(len(widths)), level)
    rows = [
        replace(each, value=0.0 - each.value, low=-each.high, high=-each.low, p=max(each.p, float(p)))
        for each, p in zip(differences, together, strict=True)
    ]
    rows = [_at_least(each, float(width)) for each, width in zip(rows, widths, strict=True)]
    rows[baseline] = replace(rows[baseline], value=0.0, low=0.0, high=0.0, p=1.0)
    return [oriented(each, comparison) for each in rows]


def unpaired_contrast(first: Comparison, at: int, second: Comparison, other: int, level: float = LEVEL) -> Contrast:
    """Compare two configurations that were measured on different images, or on images whose order is not known.

    What images both have in common is not made use of, so that the interval is wider than a paired one, and right
    only where neither was chosen by these images.

    Args:
        first: with the one configuration, of the same metric as ``second``.
        at: its index.
        second: with the other configuration.
        other: its index.
        level: 1 less the coverage of the interval.

    Returns:
        The first less the second, in the unit of the metric.
    """
    sides = ((first, at), (second, other))
    values = [each.mode * float(each.runs.means[k]) for each, k in sides]

    def interval(side: int, level: float) -> tuple[float, float]:
        each, k = sides[side]
        half = float(half_widths(each.mean_variances[:, [k]], level)[0]) if each.measured.known else math.inf
        low, high = each.interval(k, values[side], half, level)
        return min(low, values[side]), max(high, values[side])

    low, high, p = independent_difference(
        (values[0], values[1]), lambda level: (interval(0, level), interval(1, level)), level
    )
    images = sum(float((each.runs.mean_units[k] ** 2).sum()) for each, k in sides)
    spreads = [(each.model.spread, k) for each, k in sides]
    seeds = sum(0.0 if spread is None else float(spread.of_means()[k]) for spread, k in spreads)
    return Contrast(values[0] - values[1], low, high, p, math.sqrt(seeds), math.sqrt(images), level)


def _widened(differences: list[Contrast], errors: JointErrors, leader: int, others: Sequence[int]) -> list[Contrast]:
    """Return the differences with intervals that allow for the leader's having been picked."""
    widths = picked_half_widths(errors, leader)[list(others)]
    return [_at_least(each, float(width)) for each, width in zip(differences, widths, strict=True)]


def _at_least(each: Contrast, half: float) -> Contrast:
    """Return a contrast whose interval has at least this half width, where that is known."""
    if math.isinf(half):
        return each
    return replace(each, low=min(each.low, each.value - half), high=max(each.high, each.value + half))


def _standings(comparison: Comparison, ranks: Ints, level: float) -> tuple[Standing, ...]:
    results = []
    for k, half in enumerate(comparison.half_widths(level)):
        value = float(comparison.mode * comparison.runs.means[k])
        low, high = comparison.interval(k, value, float(half), level)
        results.append(Standing(value, min(low, value), max(high, value), int(ranks[k, 0]), int(ranks[k, 1])))
    return tuple(results)


def _winner_value(comparison: Comparison, leader: int, draws: int, level: float) -> WinnerValue:
    raw = float(comparison.mode * comparison.runs.means[leader])
    corrected, wider = raw, 1.0
    if len(comparison.order) > 1 and comparison.measured.known:
        size = len(comparison.order)
        corrected, wider = corrected_value(comparison.plain_model, normal_draws(draws, 2 * size)[:, :size])
        # Draws alone could make it better than measured; picking never does.
        corrected = max(0.0, comparison.mode * min(corrected, comparison.mode * raw))
    corrected = min(corrected, comparison.span)
    low, high = comparison.interval(leader, corrected, wider * float(comparison.half_widths(level)[leader]), level)
    return WinnerValue(raw, corrected, min(low, corrected), max(high, corrected))
