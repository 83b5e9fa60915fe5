"""Record a study's events: on disk before the engine goes on, in MLflow soon after."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from study.events import Event, PicturesDrawn, StudyStarted, TrialFinished
from study.layout import Layout, StudyLayout
from study.records import TrialRecord
from tracking.drain import Drain
from tracking.outbox import Outbox, read_lines
from tracking.progress import fold
from tracking.provenance import collect_provenance
from tracking.uri import default_tracking_uri, mask_uri
from tracking.writer import Writer

_log = logging.getLogger("tracking")
CLOSE_TIMEOUT_S = 60.0


class OutboxRecorder:
    """A Recorder that writes to the outbox and lets a background thread send it."""

    def __init__(self, study: StudyLayout, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._study = study
        self._provenance = collect_provenance()
        self._outbox = Outbox(study.outbox)
        self._drain = Drain(study, tracking_uri)
        self._writer = Writer(self._drain, mask_uri(tracking_uri))
        self._writer.start()

    def record(self, event: Event) -> None:
        """Put one event on disk and return; sending it is the background thread's work.

        Raises:
            TrackingError: the disk refuses the event.
        """
        self._outbox.append(event, self._provenance if isinstance(event, StudyStarted) else None)
        self._writer.wake()

    def catch_up(self, records: Iterable[TrialRecord], at_s: float) -> int:
        """Record the end of trials the ledger knows finished and the outbox does not; return how many.

        A driver killed between the ledger and the outbox leaves such trials, or pages the outbox does not know;
        call this on resume, after StudyStarted.
        """
        known = fold(read_lines(self._study.outbox, reports=False))
        ended = [one for one in records if one.state.is_finished]
        missed = [one for one in ended if one.trial not in known.finished]
        for record in missed:
            self.record(TrialFinished(record, record.finished_at_s or at_s))
        for record in ended:
            page = self._study.trial_pictures(record.trial)
            if record.trial not in known.drawn and page.exists():
                self.record(PicturesDrawn(record.study, record.trial, str(page.absolute()), at_s))
        return len(missed)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send what is left, within a time; the rest stays in the outbox for ``study sync``."""
        complete = self._writer.close(timeout_s)
        self._outbox.close()
        if not complete and (left := self._drain.pending()):
            _log.warning(
                "%d events could not be sent to MLflow at %s; they wait in %s for `study sync`",
                left, mask_uri(self.tracking_uri), self._study.outbox,
            )  # fmt: skip


def open_recorder(layout: Layout, study: StudyLayout, tracking_uri: str | None) -> OutboxRecorder:
    """Open the recorder of a study; MLflow itself is opened in the background.

    Args:
        layout: The results folder, home of the default database and its artifacts.
        study: The study's own folder; its driver lock is held by the caller.
        tracking_uri: None means MLFLOW_TRACKING_URI or the default database.
    """
    return OutboxRecorder(study, default_tracking_uri(layout, tracking_uri))
