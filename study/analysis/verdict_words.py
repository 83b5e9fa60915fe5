"""The verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import ndtri

from study.analysis.power import cheapest, components_of
from study.analysis.verdict import Comparison, Judgement


def verdict_words(
    comparison: Comparison, judgement: Judgement, names: Sequence[str], detect: float | None = None
) -> str:
    """Return the verdict as one sentence.

    Args:
        comparison: what was judged.
        judgement: the answer.
        names: what the configurations are called.
        detect: a difference to say the needed seeds and images for; None means the lead.
    """
    if len(names) == 1:
        return "nothing to compare with: one configuration only"
    lead = judgement.differences[0]
    interval = "" if math.isinf(lead.low) else f" ({lead.low:.2g} to {lead.high:.2g})"
    if judgement.about == "checkpoints":
        which = f"{names[judgement.leader]}, {lead.value:+.2g}{interval} on images like these"
        if judgement.verdict == "undecided":
            which = _undecided(comparison, judgement, len(names), detect)
        once = "the runs of each are the same" if judgement.is_deterministic else "each ran once"
        return f"which checkpoint: {which}; which configuration: unknown, {once}"
    if judgement.verdict == "undecided":
        return _undecided(comparison, judgement, len(names), detect)
    half, bound = (lead.high - lead.low) / 2, -float(ndtri(judgement.level / 2))
    text = (
        f"yes: {lead.value:+.2g} +-{half:.2g} over the next "
        f"(+-{bound * lead.se_seed:.2g} seeds, +-{bound * lead.se_image:.2g} images)"
    )
    return text if len(names) == 2 else f"{text}; beats each of {len(names) - 1}"


def _undecided(comparison: Comparison, judgement: Judgement, configurations: int, detect: float | None) -> str:
    text = f"undecided: {len(judgement.may_be_best)} of {configurations} may be the best"
    if not judgement.known:
        return f"{text}; too few images, or groups of them, to say more"
    lead = judgement.differences[0]
    difference = detect or abs(lead.value)
    if not difference or lead.se_image == 0:
        return text
    seeds, images = int(comparison.runs.counts.min()), comparison.runs.units.shape[1]
    found = cheapest(components_of(comparison, judgement.leader, judgement.others[0]), difference, seeds, images)
    if found is None:
        return f"{text}; to see {difference:.2g}: no number of images suffices with up to 100 seeds"
    many = f"{_rounded(found[1]):,} images"
    return f"{text}; to see {difference:.2g}: " + (f"{found[0]} seeds and {many}" if found[0] > 1 else many)


def _rounded(count: int) -> int:
    """Return a count to three digits."""
    digits = max(0, len(str(count)) - 3)
    return round(count, -digits) if digits else count
