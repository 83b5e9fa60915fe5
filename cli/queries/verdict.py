"""The verdict on a ranking, by stored predictions where they can be compared, else by the trials' values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.queries.ranking import Ranking
from cli.queries.stored_predictions import (
    NoPredictionsError,
    StoredVerdict,
    candidates_of,
    describe_aside,
    judge_stored,
)


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
    import numpy as np

    from study.analysis.verdict_by_values import compare_values, images_in_words

    candidates = candidates_of(ranking)
    if not candidates.trials:
        return None
    records = [(k, record) for k, members in enumerate(candidates.trials) for record in members]
    seeds = {seed: at for at, seed in enumerate(dict.fromkeys(ranking.seed_of(record) for _, record in records))}
    comparison, basis = compare_values(
        np.array([record.metrics[ranking.metric] for _, record in records]),
        np.array([k for k, _ in records]),
        np.array([seeds[ranking.seed_of(record)] for _, record in records]),
        ranking.metric, ranking.mode, ranking.class_counts,
    )  # fmt: skip
    images = f"{sum(ranking.class_counts)} {images_in_words(ranking.metric)}"
    aside, unjudged = describe_aside(ranking)
    return StoredVerdict(
        comparison, candidates.keys, candidates.names, aside, unjudged, basis, images, ranking.is_interim, ranking.look
    )


def certainty_of(ranking: Ranking, results: Path | None) -> dict[str, Any]:
    """Return how sure the lead of a ranking by one metric is, as a JSON object."""
    verdict = judge_ranking(ranking, results)
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
