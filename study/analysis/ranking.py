"""Turn trial records into a ranking; pure, no I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from study.config.search_config import Mode, Objective
from study.config.study_config import StudySpec
from study.errors import UsageError
from study.metrics import METRICS, TEST_PREFIX, VAL_PREFIX, metric_named
from study.records import StudySummary, TrialRecord, TrialState


@dataclass(frozen=True)
class RankedRow:
    """A trial and its place; trials without a checkpoint (running, failed) have none.

    Where several objectives rank together, those of equal merit share a place.
    """

    rank: int | None
    value: float | None
    record: TrialRecord


def rank(records: Iterable[TrialRecord], metric: str, mode: Mode) -> list[RankedRow]:
    """Rank trials by a metric of their selected checkpoint, best first; equals go by val_loss, then by number.

    A pruned trial has a place too: its checkpoint is as real as any other.
    """
    placed: list[TrialRecord] = []
    others: list[TrialRecord] = []
    for record in records:
        (placed if is_candidate(record, metric) else others).append(record)
    sign = -1 if mode == "max" else 1
    placed.sort(key=lambda one: (sign * one.metrics[metric], one.metrics.get("val_loss", 0.0), one.trial))
    rows = [RankedRow(place, one.metrics[metric], one) for place, one in enumerate(placed, start=1)]
    return rows + [RankedRow(None, one.metrics.get(metric), one) for one in sorted(others, key=lambda one: one.trial)]


def is_candidate(record: TrialRecord, metric: str) -> bool:
    """Whether a trial ended with a checkpoint that has a number for this metric."""
    return has_checkpoint(record) and not math.isnan(record.metrics.get(metric, math.nan))


def has_checkpoint(record: TrialRecord) -> bool:
    """Whether a trial ended with a checkpoint."""
    return record.state in (TrialState.COMPLETE, TrialState.PRUNED) and record.checkpoint is not None


def mode_of(metric: str, spec: StudySpec) -> Mode:
    """Return which direction of a metric is better.

    Raises:
        UsageError: no trial reports it, neither direction is better, or it is one of the test images.
    """
    return mode_among(metric, spec.objective_list)


def mode_among(metric: str, objectives: Sequence[Objective]) -> Mode:
    """Return which direction of a metric is better, where some objectives are known.

    Raises:
        UsageError: as in ``mode_of``.
    """
    for objective in objectives:
        if metric == objective.metric:
            return objective.mode
    known = metric_named(metric)
    if metric.startswith(TEST_PREFIX) and known is not None:
        raise UsageError(
            f"--metric must not be one of the test images, got `{metric}`: they are looked at once, at the end; "
            f"choose by validation, such as {VAL_PREFIX}{metric.removeprefix(TEST_PREFIX)}"
        )
    if known is None or known.mode is None:
        from study.utils.suggestions import did_you_mean

        usable = [name for name, one in METRICS.items() if one.mode is not None]
        raise UsageError(
            f"--metric must be one a checkpoint can be ranked by, got `{metric}`{did_you_mean(metric, usable)}"
        )
    return known.mode


def summarize(
    spec: StudySpec, state: str, records: Sequence[TrialRecord], created_at_s: float, planned: int | None = None
) -> StudySummary:
    """Return one line about a study; ``planned`` is what its storage knows, None takes the number from the spec."""
    if planned is None:
        from study.designs import planned_trials

        planned = planned_trials(spec)
    counts = Counter(record.state for record in records)
    rows = rank(records, spec.objective.metric, spec.objective.mode)
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
        best=rows[0].value if rows and rows[0].rank else None,
        created_at_s=created_at_s,
    )
