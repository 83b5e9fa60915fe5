"""Say what is wrong with the ledger of a study that somebody wants to open."""

from __future__ import annotations

from study.errors import LedgerError
from study.layout import StudyLayout


def missing(layout: StudyLayout) -> LedgerError:
    """Return the error of a study that is not there."""
    return LedgerError(f"no study in {layout.root}; `study list` shows those there are")


def damaged(layout: StudyLayout, cause: Exception) -> LedgerError:
    """Return the error of a journal that cannot be read."""
    return LedgerError(
        f"{layout.ledger} must be a whole journal of one study, but is damaged ({cause}); "
        "restore it from a backup, or move the folder away to start again"
    )
