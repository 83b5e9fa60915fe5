"""Tests of whether the best trial or configuration is really better than the others; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from study.analysis.ranking import Configuration, RankedTrial
from study.config.search_config import Mode
from study.metric_catalog import SHIFTED_METRIC_PREFIX, VAL_PREFIX, shifted_sets


def auc_standard_error(auc: float, positives: int, negatives: int) -> float:
    """Estimate the standard error of a ROC AUC from the number of images it was measured on.

    The formula gives 0 at an AUC of 1, as if few images ranked right proved it; there the AUC is taken as
    1 - 0.5 / (n + 1), with n images of the rarer class, and likewise at 0.

    Args:
        auc: in [0, 1].
        positives: images of the positive class, at least 1.
        negatives: images of the negative class, at least 1.

    Source: Hanley & McNeil 1982, equation 1, with their exponential approximation of Q1 and Q2.
    """
    edge = 0.5 / (min(positives, negatives) + 1)
    auc = min(max(auc, edge), 1 - edge)
    q1 = auc / (2 - auc)
    q2 = 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def proportion_standard_error(proportion: float, count: int) -> float:
    """Estimate the standard error of a fraction measured on ``count`` images.

    The Agresti-Coull form adds two successes and two failures: 100 % right on few images is not certain.
    """
    adjusted = (proportion * count + 2) / (count + 4)
    return math.sqrt(adjusted * (1 - adjusted) / (count + 4))


TWO_SIDED_95 = 1.96
_ONCE = "each configuration ran once, so the spread between seeds is unknown"


@dataclass(frozen=True)
class Verdict:
    """How certain it is that rank 1 is the best.

    ``standard_error`` is that of the winner's metric on its images, None for a metric without a formula;
    ``tied`` counts other trials within 1.96 standard errors.
    """

    lead: float | None
    standard_error: float | None
    tied: int | None
    text: str


def judge_best(rows: Sequence[RankedTrial], metric: str, class_counts: Sequence[int] = ()) -> Verdict:
    """Compare the winner with the others.

    Args:
        rows: a ranking, best first.
        metric: what it ranks by.
        class_counts: images of the negative and the positive class in the set the metric is about.
    """
    values = [row.value for row in rows if row.rank is not None and row.value is not None]
    return judge_candidates(values, metric, class_counts)


def judge_candidates(
    values: Sequence[float], metric: str, class_counts: Sequence[int] = (), once: str = _ONCE
) -> Verdict:
    """Compare the first value with the others, by the error that few images cause.

    ``once`` is the part of the text that names what remains unknown.
    """
    if not values:
        return Verdict(None, None, None, "no: nothing is finished yet")
    if len(values) == 1:
        return Verdict(None, None, 0, "nothing to compare with: one trial only")
    lead, error = abs(values[0] - values[1]), standard_error(metric, values[0], class_counts)
    if error is None:
        return Verdict(lead, None, None, f"not known: the lead over the next is {lead:.2g} and {once}")
    # Both values are blurred; that the same images blur both is not known to what degree.
    others = [standard_error(metric, value, class_counts) or 0.0 for value in values[1:]]
    tied = sum(
        abs(values[0] - value) <= TWO_SIDED_95 * math.hypot(error, other)
        for value, other in zip(values[1:], others, strict=True)
    )
    blur, images = TWO_SIDED_95 * error, sum(class_counts)
    ahead = f"the lead over the next is {lead:.4f}; {images} {images_in_words(metric)} alone blur it by +-{blur:.4f}"
    if tied:
        return Verdict(lead, error, tied, f"no: {ahead}, with {tied} of the others inside that; {once}")
    return Verdict(lead, error, 0, f"on these images yes: {ahead}; but {once}")


def standard_error(metric: str, value: float, class_counts: Sequence[int]) -> float | None:
    """Estimate the standard error of a metric from the number of images; None for a metric without a formula."""
    if len(class_counts) != 2 or min(class_counts) == 0:
        return None
    bare = _bare(metric)
    if bare == "auc":
        return auc_standard_error(value, class_counts[1], class_counts[0])
    if bare == "accuracy":
        return proportion_standard_error(value, sum(class_counts))
    return None


def has_formula(metric: str) -> bool:
    """Whether the standard error of a metric follows from the number of images."""
    return _bare(metric) in ("auc", "accuracy")


def _bare(metric: str) -> str:
    """Return the name of a metric without its image set."""
    if sets := shifted_sets(metric):
        return metric.removeprefix(f"{SHIFTED_METRIC_PREFIX}{sets[0]}.")
    return metric.removeprefix(VAL_PREFIX) if metric.startswith(VAL_PREFIX) else ""


def images_in_words(metric: str) -> str:
    """Return the words for the images that a metric is measured on."""
    sets = shifted_sets(metric)
    return f"images of {sets[0]}" if sets else "validation images"


LEVEL = 0.05


@dataclass(frozen=True)
class PairedVerdict(Verdict):
    """How certain it is that rank 1 is the best, of configurations that ran with the same seeds.

    ``lead`` is the mean difference to the next over ``seeds`` shared seeds, > 0 where the first is better, ``margin``
    half the width of its 95 % interval. ``tied`` counts those that seeds or images do not tell apart from the first,
    ``unjudged`` those that ran fewer seeds.
    """

    margin: float | None
    seeds: int
    unjudged: int


def paired_t(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, half width of its two-sided 95 % interval, and p value against a mean of 0.

    Differences that are all the same leave no width, and a p value of 0 unless they are 0.

    Raises:
        ValueError: there are fewer than two.

    Source: Student 1908, the paired t-test with n - 1 degrees of freedom.
    """
    if (n := len(differences)) < 2:
        raise ValueError(f"a paired comparison needs at least 2 differences, got {n}")
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / math.sqrt(n)
    if error == 0:
        return mean, 0.0, 0.0 if mean else 1.0
    half_width = float(stdtrit(n - 1, 1 - LEVEL / 2)) * error
    return mean, half_width, 2 * float(stdtr(n - 1, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number, so that any false alarm among them has at most the level's probability.

    Source: Holm 1979, a simple sequentially rejective multiple test procedure.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[at]))
        adjusted[at] = least
    return adjusted


def judge_configurations(
    ranked: Sequence[Configuration], mode: Mode, class_counts: Sequence[int] = ()
) -> Verdict | PairedVerdict:
    """Compare the best configuration with the others that ran as many seeds.

    Each comparison is a paired t-test over the seeds both ran to the end, since replicates share data order and
    augmentation, with Holm's correction for their number. That the first was picked as the best of many is not
    corrected for. The error that few images cause counts as it does for single trials.

    Args:
        ranked: by one metric, best first.
        mode: its better direction.
        class_counts: images of the negative and the positive class in the set the metric is about; without them no
            lead in a metric that they blur is a sure one.
    """
    whole = [each for each in ranked if each.is_whole and each.counted]
    unjudged = sum(bool(each.counted) for each in ranked) - len(whole)
    if not whole:
        none = f"not known: none of {unjudged} configurations ran all its seeds yet"
        return Verdict(None, None, None, none if unjudged else "no: nothing is finished yet")
    aside = f"; not judged: {unjudged} that ran fewer seeds" if unjudged else ""
    first, others = whole[0], whole[1:]
    if not others:
        return Verdict(None, None, 0, f"nothing to compare with: one configuration that ran its seeds{aside}")
    means = [each.mean or 0.0 for each in whole]
    differences = [_differences(first, other, mode) for other in others]
    seeds = len(differences[0])
    if seeds < 2:
        once = "too few seeds are shared with the next, so the spread between seeds is unknown"
        return judge_candidates(means, first.metric, class_counts, once)
    tests = [paired_t(paired) if len(paired) > 1 else (0.0, math.inf, 1.0) for paired in differences]
    error = standard_error(first.metric, means[0], class_counts)
    blur = 0.0 if error is None else TWO_SIDED_95 * error
    tied = sum(
        lead <= 0 or p >= LEVEL or (error is not None and abs(means[0] - mean) <= blur)
        for (lead, _, _), p, mean in zip(tests, holm([p for _, _, p in tests]), means[1:], strict=True)
    )
    lead, margin, _ = tests[0]
    text = f"{lead:+.2g} +-{margin:.2g} over the next in {seeds} paired seeds"
    if not tied and not class_counts and has_formula(first.metric):
        images = f"the number of {images_in_words(first.metric)} is unknown, and so how much they alone blur it"
        return PairedVerdict(lead, None, None, f"not known: {text}; {images}{aside}", margin, seeds, unjudged)
    text = f"no: {text}; {_not_told_apart(tied, len(others))}" if tied else f"on these images yes: {text}"
    if error is not None:
        text += f"; {sum(class_counts)} {images_in_words(first.metric)} alone blur it by +-{blur:.4f}"
    return PairedVerdict(lead, error, tied, text + aside, margin, seeds, unjudged)


def difference_to(base: Configuration, other: Configuration) -> tuple[float, float | None] | None:
    """Return how much the metric of a configuration differs from that of another, over the seeds both ran.

    Returns:
        The mean of ``other`` less ``base``, and half the width of its 95 % interval by Student's paired t, None for
        one seed; None without a shared seed. Nothing is corrected for the number of comparisons.
    """
    differences = _differences(other, base, "max")
    if not differences:
        return None
    if len(differences) == 1:
        return differences[0], None
    mean, half_width, _ = paired_t(differences)
    return mean, half_width


def _not_told_apart(tied: int, others: int) -> str:
    if tied == others:
        return "the other cannot be told apart" if others == 1 else f"none of the other {others} can be told apart"
    return f"{tied} of the other {others} cannot be told apart"


def _differences(first: Configuration, other: Configuration, mode: Mode) -> list[float]:
    sign = 1 if mode == "max" else -1
    values, others = first.values, other.values
    return [sign * (values[seed] - others[seed]) for seed in values if seed in others]
