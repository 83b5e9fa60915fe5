"""The verdict on a ranking by the predictions that its trials stored beside their checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from cli.queries.ranking import Ranking
from study.analysis.ranking import Configuration
from study.errors import StudyError
from study.files import open_inside
from study.metric_catalog import SHIFTED_METRIC_PREFIX, VAL_PREFIX, shifted_sets
from study.paths import SCORES, SHIFTED_SCORES, Layout
from study.records import TrialRecord, TrialState
from study.utils.named_places import checkpoint_folder

if TYPE_CHECKING:
    from study.analysis.verdict import Comparison, Judgement

MOST = 50
"""How many of the best are judged; those after them are too far behind to matter, and reading them takes long."""
_TOLERANCE = 1e-4


class NoPredictionsError(StudyError):
    """What keeps a ranking from being judged by predictions; the message goes on a sentence."""


@dataclass(frozen=True)
class StoredVerdict:
    """A ranking judged by stored predictions.

    Attributes:
        comparison: what was judged: configurations, or trials where each configuration ran once.
        keys: points or trial numbers in the order of the comparison.
        names: what they are called.
        aside: what was not judged, as the end of a sentence.
        unjudged: how many were not.
    """

    comparison: Comparison
    keys: tuple[int, ...]
    names: tuple[str, ...]
    aside: str
    unjudged: int

    @cached_property
    def judgement(self) -> Judgement:
        """The answer."""
        from study.analysis.verdict import judge

        return judge(self.comparison)

    @property
    def text(self) -> str:
        """The verdict in words."""
        from study.analysis.verdict_words import verdict_words

        return verdict_words(self.comparison, self.judgement, self.names) + self.aside

    @property
    def certainty(self) -> dict[str, Any]:
        """The verdict as a JSON object; lead and error are those against the next."""
        found = self.judgement
        lead = found.differences[0] if found.differences else None
        several = self.comparison.about == "configurations"
        return {
            "lead": None if lead is None else self.comparison.mode * lead.value,
            "standard_error": None if lead is None else math.hypot(lead.se_seed, lead.se_image),
            "tied": len(found.may_be_best) - 1,
            "text": self.text,
            **({"margin": None if lead is None else (lead.high - lead.low) / 2,
                "seeds": int(self.comparison.runs.counts.min()), "unjudged": self.unjudged} if several else {}),
            "verdict": found.verdict,
            "about": found.about,
            "may_be_best": [self.keys[k] for k in found.may_be_best],
            "low": None if lead is None else lead.low,
            "high": None if lead is None else lead.high,
            "p": None if lead is None else lead.p,
            "winner_value": {"raw": found.winner.raw, "corrected": found.winner.corrected,
                             "low": found.winner.low, "high": found.winner.high},
        }  # fmt: skip

    @property
    def ranks(self) -> dict[int, tuple[int, int]]:
        """The lowest and the highest rank that each point or trial may have."""
        standings = self.judgement.standings
        return {key: (each.rank_low, each.rank_high) for key, each in zip(self.keys, standings, strict=True)}

    def to_baseline(self, baseline: int | None) -> dict[int, tuple[float, float, float]]:
        """Return the difference of each to the baseline and its ends, in intervals that all hold together."""
        from study.analysis.verdict import against_baseline

        if baseline not in self.keys:
            return {}
        rows = against_baseline(self.comparison, self.keys.index(baseline))
        return {
            key: (row.value, row.low, row.high) for key, row in zip(self.keys, rows, strict=True) if key != baseline
        }


def judge_stored(ranking: Ranking, results: Path | None) -> StoredVerdict:
    """Judge a ranking by the predictions of its trials.

    Args:
        ranking: of one study, best first.
        results: the folder of all studies; None for a server's study.

    Raises:
        NoPredictionsError: there are none, or not such that they can be compared.
    """
    trials, keys = comparable_trials(ranking)
    trials, keys = trials[:MOST], keys[:MOST]
    word = "configuration" if ranking.configurations else "trial"
    names = tuple(f"{word} {key}" for key in keys)
    comparison = compare_stored(ranking, results, trials)
    aside, unjudged = _aside(ranking, len(trials))
    return StoredVerdict(comparison, keys, names, aside, unjudged)


def comparable_trials(ranking: Ranking) -> tuple[list[list[TrialRecord]], tuple[int, ...]]:
    """Return the trials of each configuration that ran with every seed, best first, and the points.

    Where each configuration ran once, it is each trial by itself and its number.
    """
    if ranking.configurations:
        members = [each for each in ranking.configurations if _is_whole(each)]
        return [list(each.counted) for each in members], tuple(each.point for each in members)
    ranked = [row.record for row in ranking.rows if row.rank is not None]
    return [[record] for record in ranked], tuple(record.trial for record in ranked)


def compare_stored(ranking: Ranking, results: Path | None, trials: Sequence[Sequence[TrialRecord]]) -> Comparison:
    """Return what answers questions about trials, from their stored predictions.

    Args:
        ranking: of one study; what it ranks by is compared.
        results: the folder of all studies; None for a server's study.
        trials: of each configuration.

    Raises:
        NoPredictionsError: there are none, or not such that they can be compared.
    """
    if results is None or len(ranking.studies) > 1:
        raise NoPredictionsError("predictions are compared within one study of a results folder")
    if not trials:
        raise NoPredictionsError("nothing has ended with a checkpoint yet")
    metric, images = _metric(ranking.metric)
    return _compare(Layout(results), ranking, metric, images, trials)


def _metric(name: str) -> tuple[str, str | None]:
    """Return a metric as ``influence`` calls it, and the shifted set it is about."""
    from study.analysis.influence import OF_CLASS, split_metric

    images = next(iter(shifted_sets(name)), None)
    bare = name.removeprefix(VAL_PREFIX) if images is None else name.removeprefix(f"{SHIFTED_METRIC_PREFIX}{images}.")
    kind, dot, of_class = bare.partition(".")
    metric = f"{kind}:{of_class}" if dot and kind in OF_CLASS else bare
    try:
        split_metric(metric)
    except ValueError as error:
        raise NoPredictionsError(f"{name} is not measured on images, or its error is not known") from error
    if images is None and not name.startswith(VAL_PREFIX):
        raise NoPredictionsError(f"{name} is not measured on validation images")
    return metric, images


def _compare(
    layout: Layout, ranking: Ranking, metric: str, images: str | None, trials: Sequence[Sequence[TrialRecord]]
) -> Comparison:
    import numpy as np

    from study.analysis.predictions import Predictions
    from study.metric_catalog import metric_slug

    arrays, configuration, seed, recorded = [], [], [], []
    for k, members in enumerate(trials):
        for record in members:
            arrays.append(load_predictions(layout, record, images))
            configuration.append(k)
            seed.append(record.replicate)
            recorded.append(record.metrics[ranking.metric])
    # Trials of an earlier version have no ids; the images of one study have the same order anyway.
    known_of = {key: [each[key] for each in arrays if key in each] for key in ("labels", "ids", "groups")}
    if any(not np.array_equal(each, of_key[0]) for of_key in known_of.values() for each in of_key):
        raise NoPredictionsError("the trials were scored on different images, or in another order")
    scores, labels, groups = [each["scores"] for each in arrays], known_of["labels"][0], known_of["groups"]
    known = tuple(metric_slug(each) for each in ranking.classes)
    many = 2 if scores[0].ndim == 1 else scores[0].shape[1]
    classes = known if len(known) == many else tuple(map(str, range(many)))
    try:
        predictions = Predictions(
            np.stack(scores).astype(np.float64), labels.astype(np.int64), np.array(configuration), np.array(seed),
            tuple(range(len(trials))), classes, groups[0] if groups else None,
        )  # fmt: skip
        comparison, _ = predictions.comparison(metric)
    except ValueError as error:
        raise NoPredictionsError(str(error)) from error
    if (comparison.mode == 1) != (ranking.mode == "max"):
        raise NoPredictionsError(f"{ranking.metric} is ranked by its worse direction")
    reported = np.bincount(configuration, weights=recorded) / np.bincount(configuration)
    if np.abs(comparison.mode * comparison.runs.means - reported).max() > _TOLERANCE:
        raise NoPredictionsError(f"the stored predictions do not give the {ranking.metric} that was reported")
    return comparison


def load_predictions(layout: Layout, record: TrialRecord, images: str | None = None) -> dict[str, Any]:
    """Return the scores and labels of a trial, and where they were stored the ids and groups of the images.

    Args:
        layout: of all studies.
        record: a trial with a checkpoint.
        images: name of a shifted set; None for the validation images.

    Raises:
        NoPredictionsError: they are not there or cannot be read.
    """
    import numpy as np

    folder = layout.study(record.study)
    assert record.checkpoint is not None
    prefix = "" if images is None else f"{images}/"
    try:
        if images is None:
            path = checkpoint_folder(folder, record.trial, record.checkpoint) / SCORES
        else:
            path = folder.trial(record.trial) / SHIFTED_SCORES
        with open_inside(path, path.parent) as file, np.load(file) as stored:
            arrays = {key: stored[f"{prefix}{key}"] for key in ("scores", "labels")}
            return arrays | {key: stored[key] for key in ("ids", "groups") if images is None and key in stored}
    except (OSError, BadZipFile, EOFError, KeyError, ValueError) as error:
        raise NoPredictionsError(f"trial {record.trial} has no predictions that can be read") from error


def _aside(ranking: Ranking, judged: int) -> tuple[str, int]:
    """Return what was not judged, as the end of a sentence, and how many."""
    parts, unjudged = [], 0
    if ranking.configurations:
        unjudged = sum(bool(each.counted) and not each.is_whole for each in ranking.configurations)
        if unjudged:
            parts.append(f"not judged: {unjudged} that ran fewer seeds")
        ended = sum(_is_whole(each) for each in ranking.configurations)
    else:
        ended = sum(row.rank is not None for row in ranking.rows)
        stopped = sum(row.record.state is TrialState.PRUNED for row in ranking.rows)
        if stopped:
            parts.append(f"{stopped} were stopped early; what they would have become is not known")
    if ended > judged:
        parts.append(f"only the best {judged} of {ended} were judged")
    return "".join(f"; {part}" for part in parts), unjudged


def _is_whole(each: Configuration) -> bool:
    return each.is_whole and bool(each.counted)
