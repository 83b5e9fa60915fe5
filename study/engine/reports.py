"""Say again what the ledger has of a trial's epochs, in the words of then."""

from __future__ import annotations

from study.events import EpochReported
from study.ledger import Ledger
from study.records import is_better


def reports_of(ledger: Ledger, trial: int) -> list[EpochReported]:
    """Return what was reported of a trial, the oldest epoch first, each with the best epoch until then."""
    metric, mode = ledger.spec.objective.metric, ledger.spec.objective.mode
    found: list[EpochReported] = []
    for stored in ledger.epochs(trial):
        epoch, value = stored.metrics.epoch, stored.metrics.values[metric]
        if found and not is_better(value, found[-1].best_value, mode):
            epoch, value = found[-1].best_epoch, found[-1].best_value
        found.append(EpochReported(ledger.name, trial, stored.metrics, value, epoch, stored.at_s))
    return found


def report_of(ledger: Ledger, trial: int, epoch: int) -> EpochReported:
    """Return what ``reports_of`` has of one epoch, without reading the others."""
    stored, curve = ledger.epoch(trial, epoch), ledger.curve(trial)
    first, *later = sorted(one for one in curve if one <= epoch)
    best = first
    for one in later:
        if is_better(curve[one], curve[best], ledger.spec.objective.mode):
            best = one
    return EpochReported(ledger.name, trial, stored.metrics, curve[best], best, stored.at_s)
