"""Which run to recommend: the leader, or a cheaper one that surely gives away next to nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, get_args

from study.metric_catalog import shifted_sets

Cost = Literal["parameters", "latency", "shifted"]
COSTS: tuple[Cost, ...] = get_args(Cost)
"""What makes a run cheap, the first first: parameters, milliseconds per image, mean loss on the shifted sets."""
GIVE_AWAY = 0.002
LATENCY_STEP = 1.1
"""Latencies within about this factor count as equal, as one measurement tells no more."""


@dataclass(frozen=True)
class Candidate:
    """A run or configuration that may be recommended.

    Attributes:
        key: its number.
        gives_away: how much worse than the leader it is at most, the 95 % upper limit of the difference in the unit of
            the metric; 0 for the leader, infinite where unknown.
        costs: what is known of ``COSTS``.
    """

    key: int
    gives_away: float
    costs: Mapping[Cost, float]


@dataclass(frozen=True)
class Recommendation:
    """The recommended candidate, and the cost by which it is cheaper; None for the leader."""

    chosen: Candidate
    by: Cost | None = None


def recommend(
    candidates: Sequence[Candidate], prefer: Cost = "parameters", give_away: float = GIVE_AWAY
) -> Recommendation:
    """Return the cheapest of those that give away at most ``give_away``, the leader where no other is cheaper.

    Args:
        candidates: the leader first, then the others, best first.
        prefer: the cost that counts first; the others follow in their order.
        give_away: in the unit of the metric, at least 0.
    """
    leader, *others = candidates
    order = (prefer, *(cost for cost in COSTS if cost != prefer))
    chosen, by = leader, None
    for each in others:
        if each.gives_away > give_away:
            continue
        if _cheaper_by(each, chosen, order) is not None and (first := _cheaper_by(each, leader, order)) is not None:
            chosen, by = each, first
    return Recommendation(chosen, by)


def _cheaper_by(candidate: Candidate, other: Candidate, order: Sequence[Cost]) -> Cost | None:
    """Return the first cost in which two differ if the candidate has less of it, None where it has more or is equal."""
    for cost in order:
        own, theirs = _level(cost, candidate), _level(cost, other)
        if own != theirs:
            return cost if own < theirs else None
    return None


def _level(cost: Cost, candidate: Candidate) -> float:
    value = candidate.costs.get(cost, math.inf)
    if cost != "latency" or not 0 < value < math.inf:
        return value
    return round(math.log(value) / math.log(LATENCY_STEP))


def costs_of(metrics: Sequence[Mapping[str, float]]) -> dict[Cost, float]:
    """Return the costs of a configuration from the metrics of its runs; those that a run lacks are left out."""
    shifted = [name for name in metrics[0] if shifted_sets(name) and name.endswith(".loss")]
    names: dict[Cost, list[str]] = {"parameters": ["parameters"], "latency": ["latency_ms"], "shifted": shifted}
    return {
        cost: fmean(run[name] for run in metrics for name in wanted)
        for cost, wanted in names.items()
        if wanted and all(name in run for run in metrics for name in wanted)
    }
