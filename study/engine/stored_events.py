"""Build events from what a study's storage holds."""

from __future__ import annotations

import time

from study.analysis.ranking import rank_trials
from study.events import EpochReported, StudyEnded
from study.metrics import is_better
from study.records import StopReason, StudyOutcome
from study.storage.study_storage import StudyStorage


def epoch_events(storage: StudyStorage, trial: int) -> list[EpochReported]:
    """Return the events of a trial's epochs, oldest first, each with the best epoch up to it."""
    metric, mode = storage.spec.objective.metric, storage.spec.objective.mode
    events: list[EpochReported] = []
    for stored in storage.epochs(trial):
        epoch, value = stored.metrics.epoch, stored.metrics.values[metric]
        if events and not is_better(value, events[-1].best_value, mode):
            epoch, value = events[-1].best_epoch, events[-1].best_value
        events.append(EpochReported(storage.name, trial, stored.metrics, value, epoch, stored.at_s))
    return events


def epoch_event(storage: StudyStorage, trial: int, epoch: int) -> EpochReported:
    """Return the event of one epoch, equal to that of ``epoch_events``, without reading the other epochs."""
    stored, curve = storage.epoch(trial, epoch), storage.curve(trial)
    first, *later = sorted(number for number in curve if number <= epoch)
    best = first
    for number in later:
        if is_better(curve[number], curve[best], storage.spec.objective.mode):
            best = number
    return EpochReported(storage.name, trial, stored.metrics, curve[best], best, stored.at_s)


def summarize_study(storage: StudyStorage, outcome: StudyOutcome, reason: StopReason | None = None) -> StudyEnded:
    """Return the last event of a run: counts, best trial, trials whose weights are kept."""
    rows = rank_trials(storage.records(), [storage.spec.objective])
    return StudyEnded(
        study=storage.name,
        outcome=outcome,
        best=rows[0].record if rows and rows[0].rank else None,
        counts={state.value: count for state, count in storage.counts().items() if count},
        at_s=time.time(),
        kept=tuple(row.record.trial for row in rows if row.rank and row.record.kept),
        reason=reason,
    )


def was_cut_short(storage: StudyStorage, reason: StopReason | None) -> bool:
    """Return whether planned trials never began, or some ended for this reason instead of their own."""
    begun = sum(storage.counts().values())
    return begun < storage.planned or any(record.stop_reason is reason for record in storage.records())
