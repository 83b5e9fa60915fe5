"""Turn the replicates of every point into a ranking of configurations; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from study.analysis.ranking import is_candidate
from study.config.search_config import Objective
from study.records import TrialRecord, TrialState


@dataclass(frozen=True)
class Configuration:
    """A point, its replicates and its place.

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
        """What became of it: stopped if one replicate was, COMPLETE if all ran to the end, WAITING if some are left."""
        states = {one.state for one in self.trials}
        for found in (TrialState.RUNNING, TrialState.PRUNED, TrialState.FAILED):
            if found in states:
                return found
        return TrialState.COMPLETE if self.complete >= self.planned else TrialState.WAITING

    @property
    def complete(self) -> int:
        """How many replicates ran to their end."""
        return sum(one.state is TrialState.COMPLETE for one in self.counted)

    @property
    def values(self) -> Mapping[int, float]:
        """The metric of every counted trial, by replicate."""
        return {one.replicate: one.metrics[self.metric] for one in self.counted}

    @property
    def n(self) -> int:
        """How many values the mean is over."""
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
        """The standard error of the mean that follows from it."""
        return None if (sd := self.sd) is None else float(sd / self.n**0.5)

    def mean_of(self, metric: str) -> float | None:
        """Return the mean of another metric over the same trials, None where one lacks it."""
        found = [one.metrics[metric] for one in self.counted if metric in one.metrics]
        return fmean(found) if found and len(found) == self.n else None


def count_replicates(records: Iterable[TrialRecord]) -> int:
    """Return how many replicates a point has as far as the records tell."""
    return max((one.replicate for one in records), default=0) + 1


def rank_configurations(
    records: Iterable[TrialRecord],
    objectives: Sequence[Objective],
    planned: int | Mapping[str, int],
    *,
    by_pass: bool = False,
) -> list[Configuration]:
    """Rank points by the mean of their replicates, best first; several objectives rank by the layers of their front.

    Args:
        records: the trials of one study, or of several.
        objectives: what to rank by; with one, equals go by val_loss, then by point.
        planned: replicates per point, by study where there are several; the most of any is what it takes to be whole.
        by_pass: every point is run with the first seed, then every point with the second. Cut short, such a study
            is judged by the seeds that each point has that was not stopped; else it takes all ``planned``.
    """
    groups: dict[tuple[str, int], list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.study, record.point), []).append(record)
    of_study = planned if isinstance(planned, Mapping) else {study: planned for study, _ in groups}
    found = [_configuration(groups[key], objectives, of_study[key[0]]) for key in sorted(groups)]
    most = max(of_study.values(), default=1)
    needed = _seeds_needed(found, most) if by_pass else most
    found = [replace(one, is_whole=one.complete >= needed) for one in found]
    whole = _placed([one for one in found if one.counted and one.is_whole], objectives, 0)
    after = max((one.rank or 0 for one in whole), default=0)
    partial = _placed([one for one in found if one.counted and not one.is_whole], objectives, after)
    return whole + partial + [one for one in found if not one.counted]


def _configuration(records: list[TrialRecord], objectives: Sequence[Objective], planned: int) -> Configuration:
    trials = tuple(sorted(records, key=lambda one: (one.replicate, one.trial)))
    usable = [one for one in trials if all(is_candidate(one, objective.metric) for objective in objectives)]
    counted = [one for one in usable if one.state is TrialState.COMPLETE] or usable
    metric, sign = objectives[0].metric, _sign(objectives[0])
    best = min(counted, key=lambda one: sign * one.metrics[metric], default=None)
    return Configuration(trials[0].study, trials[0].point, planned, metric, trials, tuple(counted), best)


def _seeds_needed(found: Sequence[Configuration], planned: int) -> int:
    stopped = (TrialState.PRUNED, TrialState.FAILED)
    return max(1, min((one.complete for one in found if one.state not in stopped), default=planned))


def _placed(found: list[Configuration], objectives: Sequence[Objective], after: int) -> list[Configuration]:
    sign = _sign(objectives[0])
    order = sorted(found, key=lambda one: (sign * (one.mean or 0.0), one.mean_of("val_loss") or 0.0, one.point))
    if len(objectives) == 1:
        return [replace(one, rank=place) for place, one in enumerate(order, start=after + 1)]
    import numpy as np

    from study.analysis.pareto import pareto_front

    means = np.array([[one.mean_of(objective.metric) for objective in objectives] for one in order], dtype=float)
    layers = pareto_front(means.reshape(-1, len(objectives)), [objective.mode for objective in objectives]).tolist()
    ranked = [replace(one, rank=after + layer) for one, layer in zip(order, layers, strict=True)]
    return sorted(ranked, key=lambda one: one.rank or 0)


def _sign(objective: Objective) -> int:
    return -1 if objective.mode == "max" else 1
