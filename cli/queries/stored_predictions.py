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
from study.errors import StudyError
from study.files import open_inside
from study.metric_catalog import VAL_PREFIX, bare_metric, shifted_set
from study.paths import SCORES, SHIFTED_SCORES, Layout
from study.records import TrialRecord, TrialState
from study.utils.named_places import checkpoint_folder

if TYPE_CHECKING:
    from study.analysis.verdict import Comparison, Judgement
    from study.analysis.verdict_by_values import Basis

_TOLERANCE = 1e-4
MOST_JUDGED = 100
"""How many are judged: joint errors take time and memory that grow with the square of their number."""


class NoPredictionsError(StudyError):
    """What keeps a ranking from being judged by predictions; the message goes on a sentence."""


@dataclass(frozen=True)
class Candidates:
    """What of a ranking competes: configurations that ran all their seeds, or trials where each ran once.

    Attributes:
        trials: of each, best first.
        keys: points or trial numbers.
        names: what they are called.
    """

    trials: tuple[tuple[TrialRecord, ...], ...]
    keys: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class StoredVerdict:
    """A ranking that was judged.

    Attributes:
        comparison: what was judged: configurations, or trials where each configuration ran once.
        keys: points or trial numbers in the order of the comparison.
        names: what they are called.
        aside: what else to know, as the end of a sentence.
        unjudged: how many were not judged.
        basis: what the verdict rests on.
        images: the images that the metric is measured on, in words, where it rests on their number.
        is_interim: whether the study still runs.
        look: which look at growing results this is, as a study may be extended and be looked at while it runs.
    """

    comparison: Comparison
    keys: tuple[int, ...]
    names: tuple[str, ...]
    aside: str
    unjudged: int
    basis: Basis = "predictions"
    images: str = ""
    is_interim: bool = False
    look: int = 1

    @property
    def level(self) -> float:
        """The level of all that is said; each later look has a smaller part of the 5 %."""
        from study.analysis.statistics.contrast import look_level

        return look_level(self.look)

    @cached_property
    def judgement(self) -> Judgement:
        """The answer."""
        from study.analysis.verdict import judge

        return judge(self.comparison, level=self.level)

    @property
    def is_certain(self) -> bool:
        """Whether the leader is surely the best; values of images without more never say so, nor does one run."""
        enough = self.basis in ("predictions", "counts", "measurements")
        several = self.comparison.about == "configurations"
        return enough and self.judgement.verdict == "yes" and (several or self.basis == "predictions")

    @property
    def may_be_best(self) -> tuple[int, ...]:
        """Those of the comparison that may be the best; all of them where what images do is unknown."""
        is_known = self.basis != "values" and (self.basis != "measurements" or self.judgement.known)
        return self.judgement.may_be_best if is_known else self.comparison.order

    @property
    def text(self) -> str:
        """The verdict in words."""
        from study.analysis.verdict_words import verdict_words, words_by_values

        if self.basis == "predictions":
            words = verdict_words(self.comparison, self.judgement, self.names)
        else:
            words = words_by_values(self.comparison, self.judgement, self.names, self.basis, self.images)
        looks = f" (level split over {self.look} looks)" if self.look > 1 else ""
        return ("so far: " if self.is_interim else "") + words + looks + self.aside

    @property
    def certainty(self) -> dict[str, Any]:
        """The verdict as a JSON object; lead and error are those against the next."""
        judgement = self.judgement
        lead = judgement.differences[0] if judgement.differences else None
        several = self.comparison.about == "configurations"
        winner = judgement.winner if self.basis == "predictions" else None
        return {
            "lead": None if lead is None else self.comparison.mode * lead.value,
            "standard_error": None if lead is None else math.hypot(lead.se_seed, lead.se_image),
            "tied": len(self.may_be_best) - 1,
            "text": self.text,
            **({"margin": None if lead is None else (lead.high - lead.low) / 2,
                "seeds": int(self.comparison.runs.counts.min()), "unjudged": self.unjudged} if several else {}),
            "verdict": "yes" if self.is_certain else "undecided",
            "about": judgement.about,
            "basis": self.basis,
            "level": self.level,
            "so_far": self.is_interim,
            "may_be_best": [self.keys[k] for k in self.may_be_best],
            "low": None if lead is None else lead.low,
            "high": None if lead is None else lead.high,
            "p": None if lead is None else lead.p,
            "winner_value": winner and {
                "raw": winner.raw, "corrected": winner.corrected, "low": winner.low, "high": winner.high
            },
        }  # fmt: skip

    @property
    def ranks(self) -> dict[int, tuple[int, int]]:
        """The lowest and the highest rank that each point or trial may have; none where nothing is known of images."""
        if self.basis == "values" or not self.judgement.known:
            return {}
        standings = self.judgement.standings
        return {key: (each.rank_low, each.rank_high) for key, each in zip(self.keys, standings, strict=True)}

    def to_baseline(self, baseline: int | None) -> dict[int, tuple[float, float, float]]:
        """Return the difference of each to the baseline and its ends, in intervals that all hold together."""
        from study.analysis.verdict import against_baseline

        if baseline not in self.keys:
            return {}
        rows = against_baseline(self.comparison, self.keys.index(baseline), level=self.level)
        return {
            key: (row.value, row.low, row.high) for key, row in zip(self.keys, rows, strict=True) if key != baseline
        }


def comparable_trials(ranking: Ranking) -> tuple[list[list[TrialRecord]], tuple[int, ...]]:
    """Return the trials of each configuration that ran with every seed, best first, and the points.

    Where each configuration ran once, it is each trial by itself and its number.
    """
    if ranking.configurations:
        members = [each for each in ranking.configurations if each.is_whole and each.counted]
        return [list(each.counted) for each in members], tuple(each.point for each in members)
    ranked = [row.record for row in ranking.rows if row.rank is not None]
    return [[record] for record in ranked], tuple(record.trial for record in ranked)


def candidates_of(ranking: Ranking) -> Candidates:
    """Return the ``MOST_JUDGED`` best of what competes, best first, and the baseline wherever it ranks."""
    trials, keys = comparable_trials(ranking)
    chosen = [
        at
        for at, key in enumerate(keys)
        if at < MOST_JUDGED or (ranking.baseline is not None and key == ranking.baseline)
    ]
    trials, keys = [trials[at] for at in chosen], tuple(keys[at] for at in chosen)
    word = "configuration" if ranking.configurations else "trial"
    where = "{}/" if len(ranking.studies) > 1 else ""
    names = (f"{word} {where.format(members[0].study)}{key}" for members, key in zip(trials, keys, strict=True))
    return Candidates(tuple(map(tuple, trials)), keys, tuple(names))


def judge_stored(ranking: Ranking, results: Path | None) -> StoredVerdict:
    """Judge a ranking by the predictions of its trials.

    Args:
        ranking: of one study, best first.
        results: the folder of all studies; None for a server's study.

    Raises:
        NoPredictionsError: there are none, or not such that they can be compared.
    """
    candidates = candidates_of(ranking)
    comparison = compare_stored(ranking, results, candidates.trials)
    aside, unjudged = describe_aside(ranking)
    return StoredVerdict(
        comparison, candidates.keys, candidates.names, aside, unjudged,
        is_interim=ranking.is_interim, look=ranking.look,
    )  # fmt: skip


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
    metric, images = measured_metric(ranking.metric)
    return _compare(Layout(results), ranking, metric, images, trials)


def measured_metric(name: str) -> tuple[str, str | None]:
    """Return a metric as ``influence`` calls it, and the shifted set it is about."""
    from study.analysis.statistics.influence import OF_CLASS, split_metric

    images, bare = shifted_set(name), bare_metric(name)
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
            extra = {key: f"{prefix}{key}" for key in ("ids", "groups")}
            return arrays | {key: stored[name] for key, name in extra.items() if name in stored}
    except (OSError, BadZipFile, EOFError, KeyError, ValueError) as error:
        raise NoPredictionsError(f"trial {record.trial} has no predictions that can be read") from error


def describe_aside(ranking: Ranking) -> tuple[str, int]:
    """Return what else there is to know of a verdict, as the end of a sentence, and how many were not judged."""
    parts, unjudged = [], 0
    if ranking.configurations:
        unjudged = sum(bool(each.counted) and not each.is_whole for each in ranking.configurations)
        if unjudged:
            parts.append(f"not judged: {unjudged} that ran fewer seeds")
    records = [trial for each in ranking.configurations for trial in each.trials]
    stopped = sum(record.state is TrialState.PRUNED for record in records or (row.record for row in ranking.rows))
    if stopped:
        were, they = ("was", "it") if stopped == 1 else ("were", "they")
        parts.append(f"{stopped} {were} stopped early; what {they} would have become is not known")
    if (ended := len(comparable_trials(ranking)[1])) > MOST_JUDGED:
        parts.append(f"only the best {MOST_JUDGED} of {ended:,} were judged")
    if ranking.is_part:
        parts.append("trials after these were not read from the server")
    if ranking.is_adaptive and ranking.metric.startswith(VAL_PREFIX):
        parts.append("epochs and an adaptive search chose too: only the test images are untouched")
    return "".join(f"; {part}" for part in parts), unjudged
