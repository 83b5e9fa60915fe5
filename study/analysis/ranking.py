"""Rank the trials of a study, or its configurations by the mean of their replicates; pure.

This is the only ranking: ``study compare``, ``study best``, the live view, the engine's best trial, retention and the
leaderboard in MLflow use it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from study.config.search_config import Mode, Objective
from study.config.study_config import StudySpec
from study.records import StudySummary, TrialRecord, TrialState


@dataclass(frozen=True)
class RankedTrial:
    """A trial, its rank and its value of the first objective; a trial without a checkpoint has no rank.

    Where several objectives rank together, all trials of one Pareto layer share a rank.
    """

    rank: int | None
    value: float | None
    record: TrialRecord


@dataclass(frozen=True)
class Configuration:
    """A point of the search space, its replicates and its rank.

    ``trials`` are all its trials by replicate, of ``planned``. Its figures are taken over ``counted``: the trials
    that ran to their end, or where none did those that were stopped. ``best`` is the counted trial with the best
    value. ``is_whole`` says that it ran as many seeds to the end as a fair comparison takes; the others come after
    those that did, because a mean over fewer seeds is more often high by luck.
    """

    study: str
    point: int
    planned: int
    metric: str
    trials: tuple[TrialRecord, ...]
    counted: tuple[TrialRecord, ...] = ()
    best: TrialRecord | None = None
    is_whole: bool = False
    rank: int | None = None

    @property
    def state(self) -> TrialState:
        """RUNNING, PRUNED or FAILED if a replicate is, COMPLETE if all ran to the end, WAITING if some are left."""
        states = {trial.state for trial in self.trials}
        for state in (TrialState.RUNNING, TrialState.PRUNED, TrialState.FAILED):
            if state in states:
                return state
        return TrialState.COMPLETE if self.complete >= self.planned else TrialState.WAITING

    @property
    def complete(self) -> int:
        """The number of replicates that ran to their end."""
        return sum(trial.state is TrialState.COMPLETE for trial in self.counted)

    @property
    def values(self) -> Mapping[int, float]:
        """The metric of every counted trial, by replicate."""
        return {trial.replicate: trial.metrics[self.metric] for trial in self.counted}

    @property
    def n(self) -> int:
        """The number of values behind the mean."""
        return len(self.counted)

    @property
    def mean(self) -> float | None:
        """The mean of the metric."""
        return self.mean_of(self.metric)

    @property
    def sd(self) -> float | None:
        """The standard deviation between seeds, with n - 1 in the denominator; None for fewer than two."""
        return stdev(self.values.values()) if self.n > 1 else None

    @property
    def se(self) -> float | None:
        """The standard error of the mean."""
        return None if (sd := self.sd) is None else float(sd / self.n**0.5)

    def mean_of(self, metric: str) -> float | None:
        """Return the mean of a metric over the counted trials, None where one lacks it."""
        values = [trial.metrics[metric] for trial in self.counted if metric in trial.metrics]
        return fmean(values) if values and len(values) == self.n else None


def has_checkpoint(record: TrialRecord) -> bool:
    """Whether a trial ended with a checkpoint."""
    return record.state in (TrialState.COMPLETE, TrialState.PRUNED) and record.checkpoint is not None


def is_candidate(record: TrialRecord, objectives: Sequence[Objective]) -> bool:
    """Whether a trial ended with a checkpoint that has a number for each of these objectives."""
    values = (record.metrics.get(objective.metric, math.nan) for objective in objectives)
    return has_checkpoint(record) and not any(map(math.isnan, values))


def rank_key(value: float, val_loss: float | None, number: int, mode: Mode) -> tuple[float, float, int]:
    """Return what sorts trials or points best first: the value, of equals the lower val_loss, then the number."""
    return -value if mode == "max" else value, val_loss or 0.0, number


def rank_trials(records: Iterable[TrialRecord], objectives: Sequence[Objective]) -> list[RankedTrial]:
    """Rank trials by the metrics of their selected checkpoints, best first; those without a rank follow by number.

    A pruned trial has a rank too: its checkpoint is as real as any other. Several objectives rank by Pareto layers,
    and within a layer trials go by the first objective, then by number.
    """
    first, several = objectives[0], len(objectives) > 1
    candidates: list[TrialRecord] = []
    others: list[TrialRecord] = []
    for record in records:
        (candidates if is_candidate(record, objectives) else others).append(record)
    candidates.sort(key=lambda trial: _trial_key(trial, first, ties_by_loss=not several))
    ranks: Sequence[int] = range(1, len(candidates) + 1)
    if several:
        ranks = _layers(
            [[trial.metrics[objective.metric] for objective in objectives] for trial in candidates], objectives
        )
    ranked = [
        RankedTrial(rank, trial.metrics[first.metric], trial) for rank, trial in zip(ranks, candidates, strict=True)
    ]
    ranked.sort(key=lambda row: row.rank or 0)
    others.sort(key=lambda trial: trial.trial)
    return ranked + [RankedTrial(None, trial.metrics.get(first.metric), trial) for trial in others]


def better_trial(best: TrialRecord | None, record: TrialRecord, objective: Objective) -> TrialRecord | None:
    """Return which of two trials ``rank_trials`` puts first, None where neither has a rank."""
    if not is_candidate(record, [objective]):
        return best
    if best is None or _trial_key(record, objective) < _trial_key(best, objective):
        return record
    return best


def _trial_key(trial: TrialRecord, objective: Objective, *, ties_by_loss: bool = True) -> tuple[float, float, int]:
    loss = trial.metrics.get("val_loss") if ties_by_loss else None
    return rank_key(trial.metrics[objective.metric], loss, trial.trial, objective.mode)


def rank_configurations(
    records: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    planned: int | Mapping[str, int],
    *,
    by_pass: bool = False,
) -> list[Configuration]:
    """Rank points by the mean of their replicates, best first; several objectives rank by Pareto layers.

    Args:
        records: the trials of one study, or of several.
        objectives: what to rank by; with one, equals go by val_loss, then by point.
        planned: replicates per point, by study where there are several; a point is whole if it has the largest.
        by_pass: every point is run with the first seed, then every point with the second. If such a study was cut
            short, a point is whole that has as many seeds as every point that was not stopped.
    """
    groups: dict[tuple[str, int], list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.study, record.point), []).append(record)
    by_study = planned if isinstance(planned, Mapping) else {study: planned for study, _ in groups}
    configurations = [_configuration(groups[key], objectives, by_study[key[0]]) for key in sorted(groups)]
    most = max(by_study.values(), default=1)
    needed = _seeds_needed(configurations, most) if by_pass else most
    counted = [replace(each, is_whole=each.complete >= needed) for each in configurations if each.counted]
    whole = _with_ranks([each for each in counted if each.is_whole], objectives, 0)
    after = max((each.rank or 0 for each in whole), default=0)
    partial = _with_ranks([each for each in counted if not each.is_whole], objectives, after)
    return whole + partial + [each for each in configurations if not each.counted]


def _configuration(records: list[TrialRecord], objectives: Sequence[Objective], planned: int) -> Configuration:
    trials = tuple(sorted(records, key=lambda trial: (trial.replicate, trial.trial)))
    usable = [trial for trial in trials if is_candidate(trial, objectives)]
    counted = [trial for trial in usable if trial.state is TrialState.COMPLETE] or usable
    metric, mode = objectives[0].metric, objectives[0].mode
    best = min(counted, key=lambda trial: rank_key(trial.metrics[metric], None, 0, mode), default=None)
    return Configuration(trials[0].study, trials[0].point, planned, metric, trials, tuple(counted), best)


def _seeds_needed(configurations: Sequence[Configuration], planned: int) -> int:
    stopped = (TrialState.PRUNED, TrialState.FAILED)
    return max(1, min((each.complete for each in configurations if each.state not in stopped), default=planned))


def _with_ranks(
    configurations: list[Configuration], objectives: Sequence[Objective], after: int
) -> list[Configuration]:
    mode = objectives[0].mode
    order = sorted(
        configurations, key=lambda each: rank_key(each.mean or 0.0, each.mean_of("val_loss"), each.point, mode)
    )
    ranks: Sequence[int] = range(1, len(order) + 1)
    if len(objectives) > 1:
        ranks = _layers(
            [[each.mean_of(objective.metric) or 0.0 for objective in objectives] for each in order], objectives
        )
    ranked = [replace(each, rank=after + rank) for each, rank in zip(order, ranks, strict=True)]
    return sorted(ranked, key=lambda each: each.rank or 0)


def _layers(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> list[int]:
    import numpy as np

    from study.analysis.pareto import pareto_layers

    rows = np.array(values, dtype=float).reshape(-1, len(objectives))
    return list(map(int, pareto_layers(rows, [objective.mode for objective in objectives])))


def summarize(
    spec: StudySpec, state: str, records: Sequence[TrialRecord], created_at_s: float, planned: int
) -> StudySummary:
    """Return one line about a study of which ``planned`` trials are to run at most."""
    counts = Counter(record.state for record in records)
    ranked = rank_trials(records, [spec.objective])
    return StudySummary(
        name=spec.name,
        state=state,
        trials=len(records),
        complete=counts[TrialState.COMPLETE],
        pruned=counts[TrialState.PRUNED],
        failed=counts[TrialState.FAILED],
        running=counts[TrialState.RUNNING],
        planned=planned,
        metric=spec.objective.metric,
        mode=spec.objective.mode,
        best=ranked[0].value if ranked and ranked[0].rank else None,
        created_at_s=created_at_s,
    )
