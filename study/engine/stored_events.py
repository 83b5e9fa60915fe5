"""Build events from what a study's storage holds."""

from __future__ import annotations

import time
from collections.abc import Mapping

from study.analysis.ranking import rank_trials
from study.best_epoch import best_epoch
from study.events import EpochReported, StudyEnded
from study.records import StopReason, StudyOutcome
from study.storage.study_storage import StudyStorage
from study.trials.serialization import StoredEpoch


def epoch_events(storage: StudyStorage, trial: int) -> list[EpochReported]:
    """Return the events of a trial's epochs, oldest first, each with the best epoch up to it."""
    stored = storage.epochs(trial)
    curve = {epoch.metrics.epoch: epoch.metrics.values[storage.spec.objective.metric] for epoch in stored}
    return [_event(storage, trial, epoch, curve) for epoch in stored]


def epoch_event(storage: StudyStorage, trial: int, epoch: int) -> EpochReported:
    """Return the event of one epoch, equal to that of ``epoch_events``, without reading the other epochs."""
    return _event(storage, trial, storage.epoch(trial, epoch), storage.curve(trial))


def _event(storage: StudyStorage, trial: int, stored: StoredEpoch, curve: Mapping[int, float]) -> EpochReported:
    up_to_it = ((epoch, curve[epoch]) for epoch in sorted(curve) if epoch <= stored.metrics.epoch)
    best = best_epoch(up_to_it, storage.spec.objective.mode)
    assert best is not None
    return EpochReported(storage.name, trial, stored.metrics, best[1], best[0], stored.at_s)


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
