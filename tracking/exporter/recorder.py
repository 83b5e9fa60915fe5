"""Record a study's events: in the outbox before the engine goes on, in MLflow soon after."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Protocol

from study.events import EpochEvents, Event, PicturesDrawn, StudyStarted, TrialFinished, TrialStarted
from study.paths import StudyLayout
from study.records import TrialRecord
from tracking.exporter.exporter_process import ExporterProcess
from tracking.exporter.outbox_sender import ExporterThread, OutboxReader
from tracking.outbox.outbox import Outbox, reported_epochs
from tracking.outbox.provenance import collect_provenance
from tracking.outbox.study_state import StudyProgress, read_progress
from tracking.tracking_uri import mask_uri

_log = logging.getLogger("tracking")
CLOSE_TIMEOUT_S = 10.0
"""How long to wait at the end for a server that does not answer."""


class Exporter(Protocol):
    """Exports the outbox in the background, in a thread of this process or in a process of its own."""

    def start(self) -> None:
        """Begin."""

    def wake(self) -> None:
        """Announce that the outbox has grown; returns at once."""

    def close(self, timeout_s: float) -> bool:
        """Send what is left and return whether everything was sent; give up after a time without an answer."""


class OutboxRecorder:
    """A Recorder that writes to the outbox, from which an exporter sends in the background.

    ``apart`` exports in a process of its own, so that MLflow, which needs seconds to start, takes neither time nor
    memory of this one; it begins when the first trial has its worker, whose own start it would delay. ``known_away``
    says that the user was warned already that the server is away.
    """

    def __init__(
        self,
        study: StudyLayout,
        tracking_uri: str,
        *,
        apart: bool = False,
        known_away: bool = False,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self.tracking_uri = tracking_uri
        self._study = study
        self._close_timeout_s = close_timeout_s
        self._provenance = collect_provenance(keep_in=study)
        self._outbox = Outbox(study.outbox)
        self._reader = OutboxReader(study, tracking_uri)
        self._exporter: Exporter = (
            ExporterProcess(study, tracking_uri, known_away=known_away)
            if apart
            else ExporterThread(self._reader, mask_uri(tracking_uri), known_away=known_away)
        )
        self._is_exporting = False
        if not apart:
            self._start_exporter()

    def record(self, event: Event) -> None:
        """Write one event to disk and return without waiting for the server.

        Raises:
            TrackingError: the disk refuses the event.
        """
        self._outbox.append(event, self._provenance if isinstance(event, StudyStarted) else None)
        if not isinstance(event, StudyStarted):
            self._start_exporter()
        self._exporter.wake()

    def catch_up(self, records: Sequence[TrialRecord], at_s: float, reports: EpochEvents = lambda trial: ()) -> int:
        """Record what is in the storage but not in the outbox; return how many ends of trials that were.

        A driver that is killed between the two writes leaves ends of trials and their pages unrecorded, a power cut
        reports of epochs. Call this on resume, after StudyStarted.
        """
        known = read_progress(self._study.outbox)
        missed = [record for record in records if record.trial not in known.finished]
        reported = reported_epochs(self._study.outbox, {record.trial for record in missed if record.epochs_run})
        for record in missed:
            for report in reports(record.trial) if record.trial in reported else ():
                if report.metrics.epoch not in reported[record.trial]:
                    self._record_start(record, at_s, known)
                    self.record(report)
            if record.state.is_finished:
                self.record(TrialFinished(record, record.finished_at_s or at_s))
        for record in records:
            page = self._study.trial_pictures(record.trial)
            if record.state.is_finished and record.trial not in known.drawn and os.path.exists(page):
                self.record(PicturesDrawn(record.study, record.trial, str(page.absolute()), at_s))
        return sum(record.state.is_finished for record in missed)

    def close(self) -> None:
        """Send what is left; what the server does not take, or Ctrl-C prevents, stays for ``study sync``."""
        self._outbox.close()
        self._start_exporter()
        try:
            complete = self._exporter.close(self._close_timeout_s)
        except KeyboardInterrupt:  # only of the waiting: everything is on disk
            complete = False
        if not complete and (left := self._reader.pending()):
            _log.warning(
                "%d events could not be sent to MLflow at %s; they wait in %s, `%s` sends them",
                left, mask_uri(self.tracking_uri), self._study.outbox, self._study.command("sync"),
            )  # fmt: skip

    def _start_exporter(self) -> None:
        if not self._is_exporting:
            self._is_exporting = True
            self._exporter.start()

    def _record_start(self, record: TrialRecord, at_s: float, known: StudyProgress) -> None:
        """Record a trial's start if the outbox lost it too: no report may come before it."""
        if record.trial not in known.started:
            known.started.add(record.trial)
            self.record(TrialStarted(record, record.attempts, at_s))
