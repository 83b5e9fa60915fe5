"""The verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import ndtri

from study.analysis.power import cheapest, components_of
from study.analysis.verdict import Comparison, Judgement
from study.analysis.verdict_by_values import Basis, p_whatever_the_pairing


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
        return _ALONE
    lead = judgement.differences[0]
    interval = "" if math.isinf(lead.low) else f" ({lead.low:.2g} to {lead.high:.2g})"
    if judgement.about == "checkpoints":
        which = f"{names[judgement.leader]}, {lead.value:+.2g}{interval} on images like these"
        if judgement.verdict == "undecided":
            which = _undecided(comparison, judgement, names, detect)
        once = "the runs of each are the same" if judgement.is_deterministic else "each ran once"
        return f"which checkpoint: {which}; which configuration: unknown, {once}"
    if judgement.verdict == "undecided":
        return _undecided(comparison, judgement, names, detect)
    bound, half = _bound(judgement), (lead.high - lead.low) / 2
    # Runs that differ less than their images let expect lower the whole, which no part of it may exceed.
    images = f"+-{min(bound * lead.se_image, half):.2g} images"
    seeds = f"+-{bound * lead.se_seed:.2g} seeds" if lead.se_seed else "seeds add none that shows"
    return _certain(judgement, len(names), f"({seeds}, {images})")


def words_by_values(
    comparison: Comparison, judgement: Judgement, names: Sequence[str], basis: Basis, images: str = ""
) -> str:
    """Return the verdict of values without predictions as one sentence.

    Args:
        comparison: what was judged.
        judgement: the answer.
        names: what the configurations are called.
        basis: what it rests on.
        images: the images that the metric is measured on, with their number where that is known.
    """
    if len(names) == 1:
        return _ALONE
    if judgement.about == "checkpoints":
        return _once_by_values(comparison, judgement, names, basis, images)
    lead, bound = judgement.differences[0], _bound(judgement)
    if not judgement.known:
        return f"not known: {lead.value:+.2g} over the next in seeds that do not differ; their spread is not known"
    if basis == "values":
        half = bound * lead.se_seed if math.isinf(lead.high) else (lead.high - lead.low) / 2
        tie = "" if judgement.verdict == "yes" else f"; {_may_be(judgement, len(names))} by them"
        return f"not known: {lead.value:+.2g} +-{half:.2g} over the next by seeds alone{tie}; images: unknown"
    if judgement.verdict == "undecided":
        by = f" by seeds and the number of {images.partition(' ')[2]}" if basis == "counts" else ""
        return f"undecided: {_may_be(judgement, len(names))}{by}"
    parts = f"+-{bound * lead.se_seed:.2g} seeds"
    if basis == "counts":
        parts += f", at most +-{bound * lead.se_image:.2g} images, by their number"
    return _certain(judgement, len(names), f"({parts})")


def _once_by_values(
    comparison: Comparison, judgement: Judgement, names: Sequence[str], basis: Basis, images: str
) -> str:
    lead = judgement.differences[0]
    once = "which configuration: unknown, each ran once"
    ahead = f"{names[judgement.leader]} leads the next by {abs(lead.value):.2g}"
    if basis == "measurements":
        return f"{ahead}; {once}"
    if basis == "values":
        return f"which checkpoint: not known, {ahead}, but its predictions are not stored; images: unknown; {once}"
    pairing, trials = "", comparison.measured.trials
    if not comparison.measured.ranked:
        first, second = (float(comparison.runs.means[k]) for k in comparison.order[:2])
        low, high = p_whatever_the_pairing(first, second, round(float(trials[0])))
        ends = f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"
        pairing = f"; p {ends} whichever they got right"
    if judgement.verdict == "undecided":
        which = f"undecided: {_may_be(judgement, len(names))}; {ahead}, on {images} alone{pairing}"
    else:
        which = f"not known without predictions: {ahead} on {images}{pairing}"
    return f"which checkpoint: {which}; {once}"


def _bound(judgement: Judgement) -> float:
    """Return how many standard errors an interval is wide to each side where its error is normal."""
    return -float(ndtri(judgement.level / 2))


_ALONE = "nothing to compare with: one configuration only"


def _certain(judgement: Judgement, configurations: int, parts: str) -> str:
    lead = judgement.differences[0]
    text = f"yes: {lead.value:+.2g} +-{(lead.high - lead.low) / 2:.2g} over the next {parts}"
    return text if configurations == 2 else f"{text}; beats each of {configurations - 1}"


def _may_be(judgement: Judgement, configurations: int) -> str:
    return f"{len(judgement.may_be_best)} of {configurations} may be the best"


def _undecided(comparison: Comparison, judgement: Judgement, names: Sequence[str], detect: float | None) -> str:
    text = f"undecided: {_may_be(judgement, len(names))}"
    if not judgement.known:
        return f"{text}; too few images, or groups of them, to say more"
    seeds, images = int(comparison.runs.counts.min()), comparison.runs.units.shape[1]
    if judgement.about == "configurations" and seeds == 1:
        once = ", ".join(names[k] for k in judgement.may_be_best if comparison.runs.counts[k] == 1)
        return f"{text}; {once} ran once, and one seed does not answer for a configuration"
    lead = judgement.differences[0]
    difference = detect or abs(lead.value)
    if not difference or lead.se_image == 0:
        return text
    needed = cheapest(components_of(comparison, judgement.leader, judgement.others[0]), difference, seeds, images)
    if needed is None:
        return f"{text}; to see {difference:.2g}: no number of images suffices with up to 100 seeds"
    if detect is None and needed == (seeds, images):  # the lead over the next was seen, that over another was not
        return text
    many = f"{_rounded(needed[1]):,} images"
    return f"{text}; to see {difference:.2g}: " + (f"{needed[0]} seeds and {many}" if needed[0] > 1 else many)


def _rounded(count: int) -> int:
    """Return a count to three digits."""
    digits = max(0, len(str(count)) - 3)
    return round(count, -digits) if digits else count
