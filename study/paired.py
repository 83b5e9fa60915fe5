"""Judge whether the best configuration really won, by paired differences over the seeds it shares; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from study.certainty import TWO_SIDED_95, Verdict, has_formula, images_of, judge_values, standard_error
from study.configurations import Configuration
from study.spec import Mode

LEVEL = 0.05


@dataclass(frozen=True)
class PairedVerdict(Verdict):
    """How sure the first place is when configurations ran with the same seeds.

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
    augmentation; Holm's correction holds for all of them together. That the first was picked as the best of many is
    not corrected for. The images' own blur counts as it does for single trials.

    Args:
        ranked: by one metric, best first.
        mode: its better direction.
        class_counts: images of the negative and the positive class in the set the metric is about; without them no
            lead in a metric that they blur is a sure one.
    """
    placed = [one for one in ranked if one.is_whole and one.counted]
    unjudged = sum(bool(one.counted) for one in ranked) - len(placed)
    if not placed:
        none = f"not known: none of {unjudged} configurations ran all its seeds yet"
        return Verdict(None, None, None, none if unjudged else "no: nothing is finished yet")
    aside = f"; not judged: {unjudged} that ran fewer seeds" if unjudged else ""
    first, others = placed[0], placed[1:]
    if not others:
        return Verdict(None, None, 0, f"nothing to compare with: one configuration that ran its seeds{aside}")
    means = [one.mean or 0.0 for one in placed]
    differences = [_differences(first, one, mode) for one in others]
    if len(differences[0]) < 2:
        once = "too few seeds are shared with the next, so the spread between seeds is unknown"
        return judge_values(means, first.metric, class_counts, once)
    tests = [paired_t(one) if len(one) > 1 else (0.0, math.inf, 1.0) for one in differences]
    error = standard_error(first.metric, means[0], class_counts)
    blur = 0.0 if error is None else TWO_SIDED_95 * error
    tied = sum(
        lead <= 0 or p >= LEVEL or (error is not None and abs(means[0] - mean) <= blur)
        for (lead, _, _), p, mean in zip(tests, holm([p for _, _, p in tests]), means[1:], strict=True)
    )
    lead, margin, _ = tests[0]
    text = f"{lead:+.2g} +-{margin:.2g} over the next in {len(differences[0])} paired seeds"
    if not tied and not class_counts and has_formula(first.metric):
        images = f"the number of {images_of(first.metric)} is unknown, and so how much they alone blur it"
        return PairedVerdict(
            lead, None, None, f"not known: {text}; {images}{aside}", margin, len(differences[0]), unjudged
        )
    text = f"no: {text}; {_not_told_apart(tied, len(others))}" if tied else f"on these images yes: {text}"
    if error is not None:
        text += f"; {sum(class_counts)} {images_of(first.metric)} alone blur it by +-{blur:.4f}"
    return PairedVerdict(lead, error, tied, text + aside, margin, len(differences[0]), unjudged)


def difference_to(base: Configuration, other: Configuration) -> tuple[float, float | None] | None:
    """Return how much the metric of a configuration differs from that of another, over the seeds both ran.

    Returns:
        The mean of ``other`` less ``base``, and half the width of its 95 % interval by Student's paired t, None for
        one seed; None without a shared seed. Nothing is corrected for the number of comparisons.
    """
    found = _differences(other, base, "max")
    if not found:
        return None
    if len(found) == 1:
        return found[0], None
    mean, half_width, _ = paired_t(found)
    return mean, half_width


def _not_told_apart(tied: int, others: int) -> str:
    if tied == others:
        return "the other cannot be told apart" if others == 1 else f"none of the other {others} can be told apart"
    return f"{tied} of the other {others} cannot be told apart"


def _differences(first: Configuration, other: Configuration, mode: Mode) -> list[float]:
    sign = 1 if mode == "max" else -1
    mine, theirs = first.values, other.values
    return [sign * (mine[seed] - theirs[seed]) for seed in mine if seed in theirs]
