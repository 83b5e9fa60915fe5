"""The verdict on a ranking, by stored predictions where they can be compared, else by the trials' values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.queries.ranking import Ranking
from cli.queries.stored_predictions import (
    NoPredictionsError,
    StoredVerdict,
    candidates_of,
    describe_aside,
    judge_stored,
)
from study.analysis.ranking import Configuration, RankedTrial
from study.analysis.recommendation import GIVE_AWAY, Candidate, Cost, costs_of, recommend
from study.records import TrialRecord

if TYPE_CHECKING:
    from study.analysis.verdict import Comparison
    from study.analysis.verdict_by_values import Basis


def judge_ranking(ranking: Ranking, results: Path | None) -> StoredVerdict | None:
    """Judge a ranking by one metric; None where nothing of it competes yet.

    Args:
        ranking: best first.
        results: the folder of all studies; None for a server's study.
    """
    try:
        return judge_stored(ranking, results)
    except NoPredictionsError:
        return _judge_values(ranking)


def _judge_values(ranking: Ranking) -> StoredVerdict | None:
    from study.analysis.verdict_by_values import images_in_words

    candidates = candidates_of(ranking)
    if not candidates.trials:
        return None
    comparison, basis = compare_reported(ranking, candidates.trials)
    images = f"{sum(ranking.class_counts)} {images_in_words(ranking.metric)}"
    aside, unjudged = describe_aside(ranking)
    return StoredVerdict(
        comparison, candidates.keys, candidates.names, aside, unjudged, basis, images, ranking.is_interim, ranking.look
    )


def compare_reported(ranking: Ranking, trials: Sequence[Sequence[TrialRecord]]) -> tuple[Comparison, Basis]:
    """Return what answers questions about trials by the values that they reported, and what that rests on.

    Args:
        ranking: what it ranks by is compared.
        trials: of each configuration.
    """
    import numpy as np

    from study.analysis.verdict_by_values import compare_values

    records = [(k, record) for k, members in enumerate(trials) for record in members]
    seeds = {seed: at for at, seed in enumerate(dict.fromkeys(ranking.seed_of(record) for _, record in records))}
    return compare_values(
        np.array([record.metrics[ranking.metric] for _, record in records]),
        np.array([k for k, _ in records]),
        np.array([seeds[ranking.seed_of(record)] for _, record in records]),
        ranking.metric, ranking.mode, ranking.class_counts,
    )  # fmt: skip


def certainty_of(ranking: Ranking, results: Path | None) -> dict[str, Any]:
    """Return how sure the lead of a ranking by one metric is, as a JSON object."""
    return describe_certainty(ranking, judge_ranking(ranking, results))


def describe_certainty(ranking: Ranking, verdict: StoredVerdict | None) -> dict[str, Any]:
    """Return a verdict on a ranking as a JSON object; None says that nothing competes yet."""
    if verdict is not None:
        return verdict.certainty
    unjudged = sum(bool(each.counted) for each in ranking.configurations)
    none = f"not known: none of {unjudged} configurations ran all its seeds yet"
    text = none if unjudged else "not known: nothing is finished yet"
    return {"lead": None, "standard_error": None, "tied": None, "text": text, "verdict": "undecided"}


def with_verdict(ranking: Ranking, results: Path | None) -> Ranking:
    """Return a ranking by one metric with its verdict as a note, ranks that may be and differences to the baseline."""
    verdict = judge_ranking(ranking, results)
    if verdict is None:
        return ranking
    is_one = len(ranking.studies) == 1  # numbers of trials and points name them within one study
    return replace(
        ranking,
        rank_intervals=verdict.ranks if is_one else {},
        baseline_differences=verdict.to_baseline(ranking.baseline),
        notes=(*ranking.notes, f"certain?  {verdict.text}"),
    )


@dataclass(frozen=True)
class Recommended:
    """The recommended trial, with its configuration where each ran several seeds.

    Attributes:
        key: number of the point or the trial.
        winner: the trial whose checkpoint it is.
        configuration: its configuration, None where each ran once.
        is_leader: whether it is the best itself.
        gives_away_at_most: the 95 % upper limit of how much worse than the best it is.
        text: why it is recommended.
    """

    key: int
    winner: RankedTrial
    configuration: Configuration | None
    is_leader: bool
    gives_away_at_most: float
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "trial": self.winner.record.trial, "point": self.winner.record.point, "is_leader": self.is_leader,
            "gives_away_at_most": self.gives_away_at_most, "text": self.text,
        }  # fmt: skip


def recommend_of(
    ranking: Ranking, verdict: StoredVerdict, prefer: Cost = "parameters", give_away: float = GIVE_AWAY
) -> Recommended:
    """Return the checkpoint to recommend: the best, or a cheaper one that surely gives away next to nothing.

    Args:
        ranking: by one metric.
        verdict: on it.
        prefer: the cost that counts first.
        give_away: how much of the metric a cheaper one may lose at most.
    """
    judgement, order = verdict.judgement, verdict.comparison.order
    trials = candidates_of(ranking).trials
    is_known = verdict.basis in ("predictions", "counts")
    losses = [0.0]
    for each in judgement.differences:
        loss = each.high if verdict.comparison.mode == 1 else -each.low
        losses.append(loss if is_known else math.inf)
    candidates = [
        Candidate(k, loss, costs_of([record.metrics for record in trials[k]]))
        for k, loss in zip(order, losses, strict=True)
    ]
    made = recommend(candidates, prefer, give_away)
    k = made.chosen.key
    configurations = {each.point: each for each in ranking.configurations}
    configuration = configurations[verdict.keys[k]] if configurations else None
    record = trials[k][0] if configuration is None or configuration.best is None else configuration.best
    winner = next(row for row in ranking.rows if row.record is record)
    name = verdict.names[k]
    if made.by is None:
        text = f"{name}, the best: no cheaper one surely gives away at most {give_away:g}"
    else:
        own, leader = (each.costs[made.by] for each in (made.chosen, candidates[0]))
        text = f"{name}: {_instead(made.by, own, leader)}, and gives away at most {made.chosen.gives_away:.2g} (95 %)"
    return Recommended(verdict.keys[k], winner, configuration, made.by is None, made.chosen.gives_away, text)


def _instead(cost: Cost, own: float, leader: float) -> str:
    if cost == "parameters":
        return f"{own:,.0f} parameters instead of {leader:,.0f}"
    if cost == "latency":
        return f"{own:.3g} ms an image instead of {leader:.3g}"
    return f"a loss of {own:.3g} on the shifted sets instead of {leader:.3g}"
