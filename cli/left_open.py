"""Record the end of a study whose driver was killed, which could not do so itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from study.errors import LedgerError
from study.layout import StudyLayout


def end_if_left_open(study: StudyLayout) -> bool:
    """Record that a study was interrupted if it was and nobody drives it; `study resume` then goes on as ever.

    Returns:
        Whether that was so. Where the study cannot be read or written nothing is recorded.

    Raises:
        TrackingError: the disk refuses the event.
    """
    from tracking.record.outbox import Outbox, read_lines
    from tracking.record.progress import fold

    with suppress(LedgerError):
        from study.engine.endings import ended
        from study.ledger import Ledger, driver_lock
        from study.records import StudyOutcome

        with driver_lock(study):
            told = fold(read_lines(study.outbox, reports=False))
            if told.study is None or told.outcome is not None:
                return False
            killed_at_s = study.outbox.stat().st_mtime
            event = ended(Ledger.open(study), StudyOutcome.INTERRUPTED)
            outbox = Outbox(study.outbox)
            outbox.append(replace(event, at_s=killed_at_s))
            outbox.close()
            return True
    return False
