"""The durable state of a study; Optuna's only home beside the search space."""

from study.ledger.book import Ledger
from study.ledger.creation import refuse_existing
from study.ledger.entries import Assignment, Stop
from study.ledger.lock import driver_lock, is_driven
from study.ledger.prior import PriorPoint, prior_points

__all__ = [
    "Assignment", "Ledger", "PriorPoint", "Stop", "driver_lock", "is_driven", "prior_points", "refuse_existing",
]  # fmt: skip
