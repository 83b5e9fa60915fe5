"""One comparison of two: two trials or their configurations, or two groups of configurations of one study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.queries.ranking import Ranking, rank_studies
from cli.queries.stored_predictions import NoPredictionsError, comparable_trials, compare_stored
from cli.queries.study_handle import StudyHandle
from study.analysis.trial_filter import TrialFilter
from study.errors import UsageError
from study.records import TrialRecord

if TYPE_CHECKING:
    from study.analysis.statistics.contrast import Contrast
    from study.analysis.verdict import Comparison
    from study.analysis.verdict_by_values import Basis

_POOLED = 6
"""Other configurations of the same study that show how much seeds differ."""


@dataclass(frozen=True)
class Side:
    """One of the two: what it is called, its study's ranking, and the trials of each of its configurations."""

    name: str
    ranking: Ranking
    fingerprint: str
    trials: tuple[tuple[TrialRecord, ...], ...]


@dataclass(frozen=True)
class Pair:
    """The answer: the first less the second in the unit of the metric.

    Attributes:
        metric: what they are compared by.
        names: of both.
        values: of both, means over their trials.
        contrast: the difference with its interval.
        basis: what it rests on.
        is_paired: whether both are compared on the same images.
        runs_once: whether each configuration ran once.
        higher_is_better: whether more of the metric is better.
        notes: what else to know.
        matters: the difference from which on it matters, None where nobody said.
    """

    metric: str
    names: tuple[str, str]
    values: tuple[float, float]
    contrast: Contrast
    basis: Basis
    is_paired: bool
    runs_once: bool
    higher_is_better: bool
    notes: tuple[str, ...] = ()
    matters: float | None = None

    @property
    def is_certain(self) -> bool:
        """Whether one of the two is surely the better one; without predictions one run each never shows it."""
        enough = self.basis != "values" and not (self.runs_once and self.basis != "predictions")
        return enough and self.contrast.is_certain

    @property
    def shares(self) -> tuple[float, float]:
        """The parts of the squared error that seeds and images cause; NaN where it is unknown."""
        seeds, images = self.contrast.se_seed**2, self.contrast.se_image**2
        total = seeds + images
        return (seeds / total, images / total) if 0 < total < math.inf else (math.nan, math.nan)

    @property
    def text(self) -> str:
        """The answer as one sentence."""
        first, second = self.names
        if (self.contrast.value > 0) != self.higher_is_better:
            better, worse = second, first
        else:
            better, worse = first, second
        which = f"{better} is better than {worse}" if self.is_certain else f"undecided between {first} and {second}"
        found = self.contrast
        ends = "" if math.isinf(found.low) else f" ({found.low:.2g} to {found.high:.2g}), p {found.p:.2g}"
        text = f"{which} by {self.metric}: {found.value:+.2g}{ends}"
        if self.basis == "values":
            text += "; images: unknown"
        if self.matters is not None and found.is_within(self.matters):
            text += f"; practically the same, within +-{self.matters:g}"
        once = "; which configuration: unknown, each ran once" if self.runs_once else ""
        return text + (", on images like these" if self.runs_once and self.is_certain else "") + once

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        seeds, images = self.shares
        same = {} if self.matters is None else {"practically_the_same": self.contrast.is_within(self.matters)}
        return {
            "metric": self.metric, "first": self.names[0], "second": self.names[1], "value_first": self.values[0],
            "value_second": self.values[1], **asdict(self.contrast), "share_seeds": seeds, "share_images": images,
            "verdict": "yes" if self.is_certain else "undecided",
            "about": "checkpoints" if self.runs_once else "configurations",
            "basis": self.basis, "paired": self.is_paired, "text": self.text, "notes": self.notes, **same,
        }  # fmt: skip


def side_of_trial(study: StudyHandle, record: TrialRecord, metric: str | None, *, trials: bool) -> Side:
    """Return a trial as a side, or its configuration where each has several seeds.

    Raises:
        UsageError: it has no number for the metric.
    """
    ranking = rank_studies([study], metric, trials=trials)
    members: tuple[TrialRecord, ...] = (record,)
    name = f"{study.name}/{record.trial}"
    if ranking.configurations and not trials:
        own = next(each for each in ranking.configurations if each.point == record.point)
        members, name = own.counted, f"configuration {own.point} of {study.name}"
    if not members or any(ranking.metric not in each.metrics or each.checkpoint is None for each in members):
        raise UsageError(f"{name} cannot be compared: it has no checkpoint with a number for {ranking.metric}")
    return Side(name, ranking, study.fingerprint, (members,))


def sides_of_groups(study: StudyHandle, metric: str | None, expressions: Sequence[str], *, trials: bool) -> list[Side]:
    """Return the configurations that match each of two expressions.

    Raises:
        UsageError: nothing matches one of them, or something matches both.
    """

    def ranked(where: TrialFilter | None) -> Ranking:
        ranking = rank_studies([study], metric, where, trials=trials)
        return replace(ranking, configurations=()) if trials else ranking

    sides: list[Side] = []
    whole = ranked(None)  # what is in neither group shows how much seeds differ too
    for text in expressions:
        members, _ = comparable_trials(ranked(TrialFilter(text)))
        if not members:
            raise UsageError(f"--where: nothing that ended with a checkpoint matches `{text}`")
        name = f"`{' '.join(text.split())}`"
        sides.append(Side(name, whole, study.fingerprint, tuple(map(tuple, members))))
    shared = {each.trial for each in _records(sides[0])} & {each.trial for each in _records(sides[1])}
    if shared:
        raise UsageError(f"two --where must not match the same, but both match trial {min(shared)}")
    return sides


def compare_sides(first: Side, second: Side, results: Path | None, matters: float | None = None) -> Pair:
    """Compare two sides, on the same images where that is possible.

    Raises:
        UsageError: they are the same, or not compared by the same metric.
    """
    import numpy as np

    from study.analysis.verdict import no_surer_than, unpaired_contrast

    ranking = first.ranking
    if first.name == second.name:
        raise UsageError(
            f"two that are compared must differ, but both are {first.name}; --trials compares single trials of one "
            "configuration"
        )
    if ranking.metric != second.ranking.metric:
        raise UsageError(
            f"two must be compared by one metric, but {first.name} is ranked by {ranking.metric} and {second.name} by "
            f"{second.ranking.metric}; name one with --metric"
        )
    notes = _differing(first, second)
    basis: Basis = "predictions"
    is_paired = first.fingerprint == second.fingerprint
    trials = [*first.trials, *second.trials]
    contrast = None
    if is_paired:
        try:
            contrast = _contrast(_compared(ranking, results, trials, first, second), first, second)
        except NoPredictionsError as error:
            is_paired, reason = False, str(error)
    else:
        reason = "their data differ"
    if contrast is None:
        try:
            alone = [compare_stored(side.ranking, results, side.trials) for side in (first, second)]
            if max(len(first.trials), len(second.trials)) == 1:
                contrast = unpaired_contrast(alone[0], 0, alone[1], 0)
                notes.append(f"warning: not compared image by image, because {reason}; the interval is wider")
        except NoPredictionsError as error:
            reason = str(error)
    if contrast is None:
        contrast, basis = _by_values(first, second)
        notes.append(f"warning: judged by values alone, because {reason}")
    sizes = [len(members) for members in trials]
    if min(sizes) == 1 < max(sizes):  # what another seed of that one would give is not known
        contrast = no_surer_than(contrast, contrast.level)
        once = (side.name for side in (first, second) if min(map(len, side.trials)) == 1)
        notes.append(f"{' and '.join(once)} ran once, so nothing is known of its spread, and no claim is made about it")
    values = tuple(
        float(np.mean([np.mean([each.metrics[ranking.metric] for each in members]) for members in side.trials]))
        for side in (first, second)
    )
    return Pair(
        ranking.metric, (first.name, second.name), (values[0], values[1]), contrast, basis, is_paired,
        max(sizes) == 1, ranking.mode == "max", tuple(notes), matters,
    )  # fmt: skip


def _compared(
    ranking: Ranking, results: Path | None, trials: Sequence[Sequence[TrialRecord]], first: Side, second: Side
) -> Comparison:
    """Compare by stored predictions, with others of the study where they show how much seeds differ."""
    if max(map(len, trials)) > 1 and len({first.ranking.study, second.ranking.study}) == 1:
        taken = {each.trial for members in trials for each in members}
        others = [each for each in comparable_trials(ranking)[0] if taken.isdisjoint(record.trial for record in each)]
        try:
            return compare_stored(ranking, results, [*trials, *others[:_POOLED]])
        except NoPredictionsError:
            pass
    return compare_stored(ranking, results, trials)


def _contrast(comparison: Comparison, first: Side, second: Side) -> Contrast:
    """Return the difference between the means of the first configurations and of those after them."""
    import numpy as np

    from study.analysis.statistics.contrast import linear_contrasts
    from study.analysis.statistics.own_spread import own_spread
    from study.analysis.verdict import oriented

    one, two = len(first.trials), len(second.trials)
    if one == two == 1:
        return oriented(comparison.to_others(0, [1])[0], comparison)
    weights = np.zeros((1, len(comparison.order)))
    weights[0, :one], weights[0, one : one + two] = 1 / one, -1 / two
    spread = None if comparison.about == "checkpoints" else own_spread(comparison.runs)
    return oriented(linear_contrasts(comparison.strict_model, weights, spread)[0], comparison)


def _by_values(first: Side, second: Side) -> tuple[Contrast, Basis]:
    import numpy as np

    from study.analysis.verdict_by_values import compare_values

    ranking = first.ranking
    runs = [(k, each) for k, members in enumerate([*first.trials, *second.trials]) for each in members]
    comparison, basis = compare_values(
        np.array([each.metrics[ranking.metric] for _, each in runs]), np.array([k for k, _ in runs]),
        np.array([each.replicate for _, each in runs]), ranking.metric, ranking.mode,
        ranking.class_counts if ranking.class_counts == second.ranking.class_counts else (),
    )  # fmt: skip
    return _contrast(comparison, first, second), basis


def _differing(first: Side, second: Side) -> list[str]:
    """Return a note of the hyperparameters in which two groups differ, where they are more than one."""
    sides = ([members[0].params for members in side.trials] for side in (first, second))
    one, two = sides
    if len(one) == len(two) == 1:
        return []
    names = dict.fromkeys(name for params in (*one, *two) for name in params)

    def parts(name: str, group: Sequence[Any]) -> dict[Any, float]:
        return {value: count / len(group) for value, count in Counter(each.get(name) for each in group).items()}

    differing = [name for name in names if parts(name, one) != parts(name, two)]
    text = f"the groups differ in {', '.join(differing)}, which all are part of this difference"
    return [text] if len(differing) > 1 else []


def _records(side: Side) -> list[TrialRecord]:
    return [record for members in side.trials for record in members]
