"""Say how trials and studies end."""

from __future__ import annotations

import time

from study.events import StudyEnded
from study.ledger import Ledger
from study.ranking import rank
from study.records import StopReason, StudyOutcome, TrialState

_WHOLE = (StopReason.FINISHED, StopReason.EARLY_STOPPED)


def ended(ledger: Ledger, outcome: StudyOutcome, reason: StopReason | None = None) -> StudyEnded:
    """Sum up a study as it stands."""
    objective = ledger.spec.objective
    rows = rank(ledger.records(), objective.metric, objective.mode)
    return StudyEnded(
        study=ledger.name,
        outcome=outcome,
        best=rows[0].record if rows and rows[0].rank else None,
        counts={state.value: count for state, count in ledger.counts().items() if count},
        at_s=time.time(),
        kept=tuple(row.record.trial for row in rows if row.rank and row.record.kept),
        reason=reason,
    )


def ending_of(reason: StopReason) -> tuple[TrialState, StopReason]:
    """Return the state of a trial that ended without a fault: PRUNED is whatever was not allowed to go on."""
    return (TrialState.COMPLETE if reason in _WHOLE else TrialState.PRUNED), reason


def was_cut_short(ledger: Ledger, reason: StopReason | None) -> bool:
    """Whether trials are left that never began, or some ended for this reason instead of their own."""
    begun = sum(ledger.counts().values())
    return begun < ledger.planned or any(one.stop_reason is reason for one in ledger.records())
