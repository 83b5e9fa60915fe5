"""Say how trials and studies end, and delete what only a running trial needs."""

from __future__ import annotations

import shutil
import time

from study.events import StudyEnded
from study.layout import StudyLayout
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
        reason=reason,
    )


def ending_of(reason: StopReason) -> tuple[TrialState, StopReason]:
    """Return the state of a trial that ended without a fault: PRUNED is whatever was not allowed to go on."""
    return (TrialState.COMPLETE if reason in _WHOLE else TrialState.PRUNED), reason


def tidy(layout: StudyLayout, trial: int) -> None:
    """Delete what only a running trial needs, and what a killed worker left half written."""
    layout.last_checkpoint(trial).unlink(missing_ok=True)
    for part in layout.trial(trial).glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
