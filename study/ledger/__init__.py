"""The durable state of a study; Optuna's only home beside the search space."""

from study.ledger.book import Assignment, Ledger
from study.ledger.journal import driver_lock, is_driven, refuse_existing

__all__ = ["Assignment", "Ledger", "driver_lock", "is_driven", "refuse_existing"]
