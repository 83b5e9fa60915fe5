"""Judge whether a winner really won, from what its images can tell apart; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.ranking import RankedRow
from study.records import SHIFTED_PREFIX, VAL_PREFIX, shifted_sets
from study.statistics import auc_standard_error, proportion_standard_error

TWO_SIDED_95 = 1.96
ONCE = "each configuration ran once, so the spread between seeds is unknown"


@dataclass(frozen=True)
class Verdict:
    """How sure the first place is.

    ``standard_error`` is that of the winner's metric on its images, None for a metric without a formula;
    ``tied`` counts other trials within 1.96 standard errors.
    """

    lead: float | None
    standard_error: float | None
    tied: int | None
    text: str


def judge(rows: Sequence[RankedRow], metric: str, class_counts: Sequence[int] = ()) -> Verdict:
    """Compare the winner with the others.

    Args:
        rows: a ranking, best first.
        metric: what it ranks by.
        class_counts: images of the negative and the positive class in the set the metric is about.
    """
    values = [row.value for row in rows if row.rank is not None and row.value is not None]
    return judge_values(values, metric, class_counts)


def judge_values(values: Sequence[float], metric: str, class_counts: Sequence[int] = (), once: str = ONCE) -> Verdict:
    """Compare the first value with the others by the blur of their images; ``once`` says what that leaves open."""
    if not values:
        return Verdict(None, None, None, "no: nothing is finished yet")
    if len(values) == 1:
        return Verdict(None, None, 0, "nothing to compare with: one trial only")
    lead, error = abs(values[0] - values[1]), standard_error(metric, values[0], class_counts)
    if error is None:
        return Verdict(lead, None, None, f"not known: the lead over the next is {lead:.2g} and {once}")
    tied = sum(abs(values[0] - value) <= TWO_SIDED_95 * error for value in values[1:])
    blur, images = TWO_SIDED_95 * error, sum(class_counts)
    ahead = f"the lead over the next is {lead:.4f}; {images} {images_of(metric)} alone blur it by +-{blur:.4f}"
    if tied:
        return Verdict(lead, error, tied, f"no: {ahead}, with {tied} of the others inside that; {once}")
    return Verdict(lead, error, 0, f"on these images yes: {ahead}; but {once}")


def standard_error(metric: str, value: float, class_counts: Sequence[int]) -> float | None:
    """Estimate what the number of images leaves open of a metric; None for one without a formula."""
    if len(class_counts) != 2 or min(class_counts) == 0:
        return None
    bare = _bare(metric)
    if bare == "auc":
        return auc_standard_error(value, class_counts[1], class_counts[0])
    if bare == "accuracy":
        return proportion_standard_error(value, sum(class_counts))
    return None


def has_formula(metric: str) -> bool:
    """Whether the number of images says how much chance is in a metric."""
    return _bare(metric) in ("auc", "accuracy")


def _bare(metric: str) -> str:
    """Return the name of a metric without its image set."""
    if sets := shifted_sets(metric):
        return metric.removeprefix(f"{SHIFTED_PREFIX}{sets[0]}.")
    return metric.removeprefix(VAL_PREFIX) if metric.startswith(VAL_PREFIX) else ""


def images_of(metric: str) -> str:
    """Name the images a metric is measured on."""
    sets = shifted_sets(metric)
    return f"images of {sets[0]}" if sets else "validation images"
