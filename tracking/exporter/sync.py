"""Bring an MLflow server up to date with a study's outbox."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from study.errors import TrackingError
from study.paths import Layout, StudyLayout
from tracking.client.errors import DeniedError, RateLimitedError
from tracking.exporter.worker import BusyError, OutboxReader
from tracking.run_ids import point_to
from tracking.tracking_uri import default_tracking_uri, mask_uri

_log = logging.getLogger("tracking")
MOST_FAILURES = 8
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 2.0
WORTH_A_WORD_S = 2.0


@dataclass(frozen=True)
class SyncReport:
    """What a sync did; the URI has no secrets in it."""

    tracking_uri: str
    sent: int


def sync(
    layout: Layout, study: StudyLayout, tracking_uri: str | None = None, *, everything: bool = False
) -> SyncReport:
    """Send what the server has not acknowledged, or everything again, which changes nothing that is there.

    Each server has its own position and run ids; the study then belongs to the one that was synced last.

    Raises:
        TrackingError: there is no outbox, the server is away, another process is sending, or the disk refuses.
    """
    if not study.outbox.exists():
        raise TrackingError(f"A study to be synced must have an outbox, but {study.outbox} does not exist")
    uri = default_tracking_uri(layout, tracking_uri)
    drain = OutboxReader(study, uri)
    try:
        if everything:
            drain.rewind()
        _persist(drain, mask_uri(uri))
        point_to(study.runs, mask_uri(uri))
        return SyncReport(mask_uri(uri), drain.sent)
    except OSError as exc:
        raise TrackingError(f"{study.root} must be writable, but: {exc}; mend this and sync again") from exc
    finally:
        drain.close()


def _persist(drain: OutboxReader, where: str) -> None:
    """Drain, over and over as long as a server that fails now and then lets it get on, or soon may."""
    failures = 0
    while True:
        sent = drain.sent
        try:
            drain.run()
            return
        except (BusyError, DeniedError):
            raise
        except TrackingError as exc:
            failures = 1 if drain.sent > sent else failures + 1
            if failures > MOST_FAILURES:
                raise
            asked_s = exc.wait_s if isinstance(exc, RateLimitedError) else 0.0
            if asked_s >= WORTH_A_WORD_S:
                _log.warning("%s asks for patience; going on in %.0f s", where, asked_s)
            time.sleep(max(asked_s, min(FIRST_PAUSE_S * 2 ** (failures - 1), LAST_PAUSE_S)))
