"""The durable state of a study; Optuna's only home beside the search space."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.ledger.book import Ledger
    from study.ledger.creation import refuse_existing
    from study.ledger.entries import Assignment, Stop
    from study.ledger.lock import driver_lock, is_driven
    from study.ledger.prior import PriorPoint, prior_points

__all__ = [
    "Assignment", "Ledger", "PriorPoint", "Stop", "driver_lock", "is_driven", "prior_points", "refuse_existing",
]  # fmt: skip
_HOMES = {
    "Assignment": "entries", "Ledger": "book", "PriorPoint": "prior", "Stop": "entries", "driver_lock": "lock",
    "is_driven": "lock", "prior_points": "prior", "refuse_existing": "creation",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Import what is asked for and no more: whoever only reads does not wait for Optuna."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
